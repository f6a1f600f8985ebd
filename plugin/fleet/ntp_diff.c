/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A planned change as a unified diff, for somebody who wants to see it first. The files are a few
 * lines each, so one hunk holds all of the file, and the longest common subsequence is found in the
 * plainest way. What comes out can be given to patch.
 */
#include "timehandoff/ntp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LINES 512

struct text_line {
    const char *start;
    size_t size; /* without the newline */
    bool complete;
};

struct lines {
    struct text_line lines[MAX_LINES];
    size_t n;
};

/* Lines beyond the most are left out: a file of ours never has as many. */
static void split(const char *text, struct lines *lines) {
    lines->n = 0;
    while (text && *text && lines->n < MAX_LINES) {
        size_t size = strcspn(text, "\n");

        lines->lines[lines->n++] = (struct text_line){text, size, text[size] == '\n'};
        text += size + (text[size] == '\n' ? 1 : 0);
    }
}

static bool is_same(const struct text_line *a, const struct text_line *b) {
    return a->size == b->size && a->complete == b->complete &&
           memcmp(a->start, b->start, a->size) == 0;
}

static void print_line(FILE *out, char mark, const struct text_line *line) {
    fprintf(out, "%c%.*s\n%s", mark, (int)line->size, line->start,
            line->complete ? "" : "\\ No newline at end of file\n");
}

/* common[i][j] is how many lines the ends of both from i and j on have in common. */
static void measure(const struct lines *a, const struct lines *b, uint16_t *common) {
    size_t width = b->n + 1;

    for (size_t i = a->n; i-- > 0;) {
        for (size_t j = b->n; j-- > 0;) {
            uint16_t down = common[(i + 1) * width + j], right = common[i * width + j + 1];

            common[i * width + j] = is_same(&a->lines[i], &b->lines[j])
                                        ? (uint16_t)(common[(i + 1) * width + j + 1] + 1)
                                    : down > right ? down
                                                   : right;
        }
    }
}

static void print_hunk(FILE *out, const struct lines *a, const struct lines *b,
                       const uint16_t *common) {
    size_t width = b->n + 1, i = 0, j = 0;

    fprintf(out, "@@ -%d,%zu +%d,%zu @@\n", a->n > 0, a->n, b->n > 0, b->n);
    while (i < a->n || j < b->n) {
        if (i < a->n && j < b->n && is_same(&a->lines[i], &b->lines[j])) {
            print_line(out, ' ', &a->lines[i++]);
            j++;
        } else if (i < a->n &&
                   (j == b->n || common[(i + 1) * width + j] >= common[i * width + j + 1])) {
            print_line(out, '-', &a->lines[i++]);
        } else {
            print_line(out, '+', &b->lines[j++]);
        }
    }
}

int th_ntp_diff(const struct th_ntp_change *change, char **ret_text) {
    th_auto_free struct lines *both = calloc(2, sizeof(*both));
    th_auto_free uint16_t *common = NULL;
    size_t size = 0;
    FILE *out;

    if (!both) {
        return -ENOMEM;
    }
    split(change->old_text, &both[0]);
    split(change->new_text, &both[1]);
    common = calloc((both[0].n + 1) * (both[1].n + 1), sizeof(*common));
    out = common ? open_memstream(ret_text, &size) : NULL;
    if (!out) {
        return -ENOMEM;
    }
    measure(&both[0], &both[1], common);
    fprintf(out, "--- %s\n+++ %s\n", change->old_text ? change->path : "/dev/null", change->path);
    print_hunk(out, &both[0], &both[1], common);
    return fclose(out) != 0 ? -ENOMEM : 0;
}
