/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the guard makes of the checker's output, which may quote another host's XML: whether it
 * blocks, and the line that libvirt shows. The guard is one file that nothing can link, so it is
 * included whole. (stdin is no input of the guard's: it never reads it, and what the checker reads
 * there is the domain XML of fuzz_domain.c.)
 */
int guard_main(int argc, char **argv);
#define main guard_main
#include "guard.c"
#undef main

#include "fuzz.h"

/* The first whole line of the output that begins with the mark, found another way. */
static const char *expected_line(const struct th_guard *guard, size_t *ret_size) {
    for (size_t at = 0; at < guard->n_output; at++) {
        const char *line = guard->output + at;
        size_t rest = guard->n_output - at;
        const char *end = memchr(line, '\n', rest);

        if ((at == 0 || line[-1] == '\n') && end && (size_t)(end - line) <= TH_GUARD_LINE_MAX &&
            rest >= strlen(TH_GUARD_MARK) &&
            memcmp(line, TH_GUARD_MARK, strlen(TH_GUARD_MARK)) == 0) {
            *ret_size = (size_t)(end - line);
            return line;
        }
    }
    return NULL;
}

static bool is_plain(const char *text) {
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f) {
            return false;
        }
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct th_guard guard;
    siginfo_t info = {.si_code = CLD_EXITED};
    char line[TH_GUARD_LINE_MAX + 1] = "", why[TH_GUARD_WHY_MAX] = "", name[TH_GUARD_NAME_MAX];
    const char *expected;
    size_t expected_size = 0;

    if (size == 0 || size - 1 > sizeof(guard.output)) {
        return 0;
    }
    guard.n_output = size - 1;
    memcpy(guard.output, data + 1, size - 1);
    expected = expected_line(&guard, &expected_size);
    must(find_blocked_line(&guard, line) == (expected != NULL));
    if (expected) {
        must(strlen(line) == expected_size && is_plain(line));
        must(strncmp(line, TH_GUARD_MARK, strlen(TH_GUARD_MARK)) == 0);
    }
    info.si_status = data[0];
    describe_exit(&guard, &info, why);
    must(*why && is_plain(why));
    copy_clean((const char *)data, size, sizeof(name), name);
    must(is_plain(name) && (size >= sizeof(name) || strlen(name) == size));
    return 0;
}
