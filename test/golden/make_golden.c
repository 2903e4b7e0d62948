/*
 * Writes the golden logs to the folder named by its argument, for `make golden`. Only to be run when a new
 * log joins the set, or with a new version: the files are there to show that the format does not change
 * unnoticed. Those forged with minor version 0 show that old logs stay readable.
 */
#include <stdio.h>

#include "test/golden/golden_set.h"

int main(int argc, char **argv)
{
    static struct forge f;
    char path[512];

    for (size_t i = 0; argc == 2 && i < ARRAY_LEN(golden_set); i++) {
        FILE *file;

        memset(&f, 0, sizeof f);
        golden_set[i].make(&f);
        snprintf(path, sizeof path, "%s/%s.golden", argv[1], golden_set[i].name);
        file = fopen(path, "wb");
        if (!file || fwrite(f.bytes, 1, f.size, file) != f.size || fclose(file)) {
            perror(path);
            return 1;
        }
    }
    if (argc != 2)
        fprintf(stderr, "usage: make_golden FOLDER\n");
    return argc != 2;
}
