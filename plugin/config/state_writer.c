/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The writing half of state files. The folder may belong to an unprivileged user, so the temporary
 * file is always created anew and never opened through a link. The caller may rely on it that
 * readers see the old file or the new one, and the old one stays whatever fails.
 */
#define _GNU_SOURCE 1 /* asprintf */

#include "config/state_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/state_reader.h"

/* Bytes of text a line: with its key, and each byte encoded as three, what the INI library takes.
 */
#define CHUNK ((size_t)56)

/* Opens the folder that the file is in, and keeps the file's own name. */
static int open_folder(struct th_state_writer *writer, const char *folder, const char *file) {
    const char *slash = strrchr(file, '/');
    const char *name = slash ? slash + 1 : file;
    th_auto_free char *path = NULL;

    if (strlen(name) >= sizeof(writer->name)) {
        return -ENAMETOOLONG;
    }
    if (asprintf(&path, "%s/%.*s", folder, slash ? (int)(slash - file) : 0, file) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    snprintf(writer->name, sizeof(writer->name), "%s", name);
    snprintf(writer->temporary, sizeof(writer->temporary), ".%s.%ld", name, (long)getpid());
    writer->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return writer->folder < 0 ? -errno : 0;
}

static int create(const struct th_state_writer *writer) {
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(writer->folder, writer->temporary, flags, 0600);

    if (fd < 0 && errno == EEXIST) {
        /* Left by a process that had this number and died, or put there by somebody else. */
        unlinkat(writer->folder, writer->temporary, 0);
        fd = openat(writer->folder, writer->temporary, flags, 0600);
    }
    return fd < 0 ? -errno : fd;
}

/* The group first: until then nobody else may read the file. */
static int open_stream(struct th_state_writer *writer, mode_t mode, int group) {
    th_auto_close int fd = create(writer);

    if (fd < 0) {
        return fd;
    }
    if ((group >= 0 && fchown(fd, (uid_t)-1, (gid_t)group) < 0) || fchmod(fd, mode) < 0) {
        return -errno;
    }
    writer->file = fdopen(fd, "w");
    if (!writer->file) {
        return -errno;
    }
    th_take_fd(&fd);
    setvbuf(writer->file, writer->buffer, _IOFBF, sizeof(writer->buffer));
    return 0;
}

int th_state_writer_open(struct th_state_writer *writer, const char *folder, const char *file,
                         mode_t mode, int group, const struct th_now *now, int64_t refresh_ns) {
    char text[TH_UUID_TEXT_SIZE];
    struct th_uuid boot_id;
    int r = th_state_reader_boot_id(&boot_id);

    writer->file = NULL;
    r = r < 0 ? r : open_folder(writer, folder, file);
    if (r < 0) {
        return r;
    }
    r = open_stream(writer, mode, group);
    if (r < 0) {
        unlinkat(writer->folder, writer->temporary, 0);
        close(writer->folder);
        return r;
    }
    th_state_writer_section(writer, "file");
    th_state_writer_number(writer, "version", 1);
    th_state_writer_word(writer, "boot-id", th_uuid_format(&boot_id, text));
    th_state_writer_number(writer, "boot-time-ns", now->boot_ns);
    th_state_writer_number(writer, "refresh-ns", refresh_ns);
    return 0;
}

void th_state_writer_section(struct th_state_writer *writer, const char *name) {
    fprintf(writer->file, "[%s]\n", name);
}

void th_state_writer_number(struct th_state_writer *writer, const char *key, int64_t number) {
    fprintf(writer->file, "%s=%" PRId64 "\n", key, number);
}

void th_state_writer_word(struct th_state_writer *writer, const char *key, const char *word) {
    /* Not by a format: words may be keys, and formatting may copy. */
    fputs(key, writer->file);
    fputc('=', writer->file);
    fputs(word, writer->file);
    fputc('\n', writer->file);
}

/* How much of the text fits on one line without splitting a UTF-8 character. */
static size_t chunk_size(const char *text) {
    size_t size = strnlen(text, CHUNK);
    size_t whole = size;

    while (whole > size - 3 && size == CHUNK && ((unsigned char)text[whole] & 0xC0) == 0x80) {
        whole--;
    }
    return whole;
}

/* The INI library takes blanks off both ends of a value, and a comment. */
static void write_chunk(FILE *file, const char *chunk, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)chunk[i];
        bool at_end = i == 0 || i == size - 1;

        if (c < ' ' || c == 0x7f || c == '%' || c == ';' || (c == ' ' && at_end)) {
            fprintf(file, "%%%02x", c);
        } else {
            fputc(c, file);
        }
    }
}

void th_state_writer_text(struct th_state_writer *writer, const char *key, const char *text) {
    while (*text != '\0') {
        size_t size = chunk_size(text);

        fprintf(writer->file, "%s=", key);
        write_chunk(writer->file, text, size);
        fputc('\n', writer->file);
        text += size;
    }
}

int th_state_writer_commit(struct th_state_writer *writer) {
    int r = 0;

    th_state_writer_section(writer, "end");
    if (fflush(writer->file) != 0 || ferror(writer->file)) {
        r = errno != 0 ? -errno : -EIO;
    }
    if (fclose(writer->file) != 0 && r == 0) {
        r = -errno;
    }
    explicit_bzero(writer->buffer, sizeof(writer->buffer));
    if (r == 0 && renameat(writer->folder, writer->temporary, writer->folder, writer->name) < 0) {
        r = -errno;
    }
    if (r < 0) {
        unlinkat(writer->folder, writer->temporary, 0);
    }
    close(writer->folder);
    return r;
}
