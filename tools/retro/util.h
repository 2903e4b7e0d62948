/* Small helpers of the host tool: messages, memory, files, time, numbers. */
#ifndef RV_TOOLS_RETRO_UTIL_H
#define RV_TOOLS_RETRO_UTIL_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Prints "retro: MESSAGE" on standard error and returns `code`, so that callers can return it. */
int fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints "retro: MESSAGE" on standard error. */
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Allocation that ends the program where memory is exhausted. */
void *xmalloc(size_t bytes);
void *xrealloc(void *old, size_t bytes);
char *xprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Bytes that grow at their end. Zero-initialise; free with buffer_free. */
struct buffer {
    uint8_t *data;
    size_t length, capacity;
};

void buffer_add(struct buffer *b, const void *data, size_t length);
void buffer_free(struct buffer *b);

/* Reads a whole file into `b`. Returns 0, or -1 with errno set. */
int read_file(const char *path, struct buffer *b);
/* Writes all of it, through short writes and EINTR. Returns 0, or -1 with errno set. */
int write_all(int fd, const void *data, size_t length);

/* Removes a directory and all in it, as far as that can be done. */
void remove_tree(const char *path);

/* Monotonic time in seconds. */
double now(void);

/* Parses an unsigned number (decimal, or 0x...) within [low, high]. Returns false if it is not one. */
bool parse_number(const char *text, uint64_t low, uint64_t high, uint64_t *value);
/* Parses a size such as 64M, 1G, 4096, 16K. */
bool parse_size(const char *text, uint64_t *bytes);

/* For argp parsers of commands that take one log: its path goes to *path; none, or a second one, is an error.
 */
error_t parse_log_argument(int key, char *arg, struct argp_state *state, const char **path);

#endif
