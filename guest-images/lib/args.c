#include "guest-images/lib/args.h"

#include <stdlib.h>
#include <string.h>

static char command_line[256];

void args_set(const char *text, size_t length)
{
    if (length >= sizeof(command_line))
        length = sizeof(command_line) - 1;
    memcpy(command_line, text, length);
    command_line[length] = '\0';
}

/* The text after `name=`, up to the end of the line; NULL where no word begins so. */
static const char *find_value(const char *name)
{
    size_t length = strlen(name);
    const char *word = command_line;

    while (*word != '\0') {
        if (strncmp(word, name, length) == 0 && word[length] == '=')
            return word + length + 1;
        word += strcspn(word, " ");
        word += strspn(word, " ");
    }
    return NULL;
}

uint64_t arg_number(const char *name, uint64_t otherwise)
{
    const char *value = find_value(name);

    return value != NULL ? strtoull(value, NULL, 0) : otherwise;
}

bool arg_word(const char *name, const char *value)
{
    const char *found = find_value(name);
    size_t length = strlen(value);

    return found != NULL && strncmp(found, value, length) == 0 &&
           (found[length] == ' ' || found[length] == '\0');
}
