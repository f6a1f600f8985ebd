/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The ground everything stands on: the error contract, the ownership helpers and the one way to
 * read a clock.
 *
 * Error contract. A function that can fail for reasons its caller cannot be expected to handle
 * returns a negative errno; the caller passes it up unchanged. An outcome the caller must handle
 * (silence, a refused packet, a paused guest) is a positive value of an enum documented beside the
 * function. The two are never mixed. Zero is success. Outputs come last, are named ret_, and are
 * left untouched on failure.
 *
 * Ownership is in the verb: new/free on the heap, init/deinit for embedded objects, take moves, dup
 * copies. Every destructor accepts NULL.
 *
 * Time is int64_t nanoseconds and says so in its name (_ns). A wall-clock instant is nanoseconds
 * since 1970-01-01 UTC without leap seconds, as CLOCK_REALTIME counts them.
 */
#ifndef TIMEHANDOFF_BASE_H
#define TIMEHANDOFF_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define TH_NS_PER_US INT64_C(1000)
#define TH_NS_PER_MS INT64_C(1000000)
#define TH_NS_PER_S INT64_C(1000000000)

/* Number of elements of an array. */
#define TH_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* ---- ownership ---- */

void th_cleanup_free(void *pointer_to_pointer);
void th_cleanup_close(const int *fd);
void th_cleanup_fclose(FILE **file);

/* Frees the pointed-to heap block, closes the descriptor (ignoring -1), closes the stream when the
 * variable goes out of scope. */
#define th_auto_free __attribute__((cleanup(th_cleanup_free)))
#define th_auto_close __attribute__((cleanup(th_cleanup_close)))
#define th_auto_fclose __attribute__((cleanup(th_cleanup_fclose)))

/* Takes the value out of an owning variable, leaving NULL or -1 behind. */
#define th_take(pointer)                                                                           \
    __extension__({                                                                                \
        __typeof__(pointer) *th_take_source = &(pointer);                                          \
        __typeof__(pointer) th_taken = *th_take_source;                                            \
        *th_take_source = NULL;                                                                    \
        th_taken;                                                                                  \
    })

static inline int th_take_fd(int *fd) {
    int taken = *fd;

    *fd = -1;
    return taken;
}

/* ---- clocks ---- */

/* One reading of every clock that we use, taken within a microsecond or so of each other. */
struct th_now {
    int64_t real_ns; /* CLOCK_REALTIME: the host's clock, what a guest would be given */
    int64_t mono_ns; /* CLOCK_MONOTONIC: for deadlines */
    int64_t raw_ns;  /* CLOCK_MONOTONIC_RAW: never slewed, to see whether the host's clock is */
    int64_t boot_ns; /* CLOCK_BOOTTIME: for ages that must count sleep */
};

/* Reads all clocks. The only place in the project that does (plugin/base/now.c). */
struct th_now th_now(void);
/*
 * CLOCK_REALTIME with CLOCK_MONOTONIC_RAW, for the two ends of something to be timed on both: the
 * raw reading is the first of the two at the start and the last at the end. So the raw interval
 * encloses the real one even if the program is put aside between the two readings.
 */
void th_now_pair_start(int64_t *ret_real_ns, int64_t *ret_raw_ns);
void th_now_pair_end(int64_t *ret_real_ns, int64_t *ret_raw_ns);
int64_t th_now_mono_ns(void);
int64_t th_now_real_ns(void);
/* The smallest step seen between successive readings of CLOCK_REALTIME just now, 1 ns to 1 ms: not
 * less than the clock's resolution, so it may stand for it in a bound. Takes a microsecond or so.
 */
int64_t th_now_precision_ns(void);

/* ---- small values ---- */

/* A UUID as 16 bytes in text order. All zero means none. */
struct th_uuid {
    uint8_t bytes[16];
};

#define TH_UUID_TEXT_SIZE 37

/* Reads "8-4-4-4-12" hexadecimal, dashes optional, nothing else around it. 0 or -EINVAL. */
int th_uuid_parse(const char *text, struct th_uuid *ret_uuid);
/* Writes the lower-case text and a NUL; returns text. */
char *th_uuid_format(const struct th_uuid *uuid, char text[TH_UUID_TEXT_SIZE]);
bool th_uuid_equal(const struct th_uuid *a, const struct th_uuid *b);
bool th_uuid_is_none(const struct th_uuid *uuid);

/* Three-valued truth: what we do not know stays unknown. */
enum th_ternary { TH_UNKNOWN = 0, TH_NO, TH_YES };

/* "unknown", "no", "yes". Never NULL. */
const char *th_ternary_name(enum th_ternary value);
/* The reverse; anything else is TH_UNKNOWN. */
enum th_ternary th_ternary_parse(const char *text);

/* Copies text into a fixed buffer, cutting it if it must; control bytes and broken UTF-8 become
 * '?'. For names that come from the network or from XML and are shown to people. Returns buffer. */
char *th_text_clean(const char *text, char *buffer, size_t buffer_size);

/* A copy of text on the heap; NULL of NULL. 0 or -ENOMEM. */
int th_text_dup(const char *text, char **ret_text);

/* Fills the buffer with random bytes from the kernel. 0 or negative errno. */
int th_random(void *buffer, size_t size);

/* Reads a regular file from its beginning, size bytes or fewer if it ends before. Returns how many,
 * or negative errno. */
ssize_t th_file_read(int fd, char *text, size_t size);

/* Hexadecimal. th_hex_decode wants exactly 2*size digits of either case and nothing else: 0 or
 * -EINVAL. th_hex_encode writes 2*size lower-case digits and a NUL; returns text. */
int th_hex_decode(const char *text, void *ret_bytes, size_t size);
char *th_hex_encode(const void *bytes, size_t size, char *text);

#endif
