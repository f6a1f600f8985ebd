/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs a harness over given files and folders of files, where there is no libFuzzer: with gcc,
 * under valgrind, or to look at one input in a debugger. Ends as the harness does, by a signal,
 * when a property does not hold.
 */
#include "fuzz.h"

static unsigned ran;

static int run_one(const char *path, const struct stat *status, int kind, struct FTW *at) {
    size_t size = (size_t)status->st_size;
    FILE *file = kind == FTW_F ? fopen(path, "re") : NULL;
    uint8_t *bytes;

    (void)at;
    if (!file) {
        return kind == FTW_F || kind == FTW_DNR ? -1 : 0;
    }
    /* Exactly as long as it is, so that a byte too far shows. */
    bytes = malloc(size > 0 ? size : 1);
    must(bytes && fread(bytes, 1, size, file) == size);
    (void)fclose(file);
    (void)LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
    ran++;
    return 0;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (nftw(argv[i], run_one, 8, FTW_PHYS) != 0) {
            perror(argv[i]);
            return EXIT_FAILURE;
        }
    }
    printf("%u inputs\n", ran);
    return ran > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
