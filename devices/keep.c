/// Files in the user's cache folder.
#include "devices/keep.h"

#include "base/error.h"
#include "base/hash.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_BYTES = 1 << 28 };

typedef struct header {
    char magic[8];
    uint64_t n_key, n_data;
    uint64_t hash; ///< of key and data
} header;

static const char magic[8] = {'h', 's', 'd', 'k', 'e', 'p', 't', '1'};

static bool folder(char *out, size_t cap)
{
    const char *own = getenv("HSD_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    int n;
    if (own) {
        n = snprintf(out, cap, "%s", own);
    } else if (xdg && xdg[0] == '/') { // a relative one is to be ignored, says its specification
        n = snprintf(out, cap, "%s/hsd", xdg);
    } else {
        n = home && home[0] ? snprintf(out, cap, "%s/.cache/hsd", home) : 0;
    }
    return n > 0 && (size_t)n < cap;
}

bool hsdi_keep_path(const char *kind, const char *key, char *out, size_t cap)
{
    char at[PATH_MAX];
    uint64_t hash = hsdi_hash(HSDI_HASH_BEGIN, key, strlen(key));
    if (!folder(at, sizeof at)) {
        return false;
    }
    int n = snprintf(out, cap, "%s/%s-%016" PRIx64, at, kind, hash);
    return n > 0 && (size_t)n < cap;
}

static bool make_folders(const char *path)
{
    char part[PATH_MAX];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        if (mkdir(part, 0700) != 0 && errno != EEXIST) {
            return false;
        }
    }
    return true;
}

static header header_of(const char *key, const void *data, size_t n_bytes)
{
    header h = {.n_key = strlen(key), .n_data = n_bytes};
    memcpy(h.magic, magic, sizeof magic);
    h.hash = hsdi_hash(HSDI_HASH_BEGIN, key, strlen(key));
    h.hash = hsdi_hash(h.hash, data, n_bytes);
    return h;
}

static void *read_data(FILE *file, const char *key, size_t *n_bytes)
{
    header h;
    if (fread(&h, sizeof h, 1, file) != 1 || memcmp(h.magic, magic, sizeof magic) != 0 ||
        h.n_key != strlen(key) || h.n_data == 0 || h.n_data > MAX_BYTES) {
        return NULL;
    }
    char *all = malloc(h.n_key + h.n_data + 1);
    size_t n = h.n_key + h.n_data; // one byte more is asked for: a longer file is not ours
    if (!all || fread(all, 1, n + 1, file) != n || memcmp(all, key, h.n_key) != 0 ||
        header_of(key, all + h.n_key, h.n_data).hash != h.hash) {
        free(all);
        return NULL;
    }
    memmove(all, all + h.n_key, h.n_data);
    *n_bytes = h.n_data;
    return all;
}

bool hsdi_keep_read(const char *kind, const char *key, void **data, size_t *n_bytes)
{
    char path[PATH_MAX];
    FILE *file = hsdi_keep_path(kind, key, path, sizeof path) ? fopen(path, "rb") : NULL;
    if (!file) {
        return false;
    }
    *data = read_data(file, key, n_bytes);
    fclose(file);
    return *data != NULL;
}

static bool write_data(FILE *file, const char *key, const void *data, size_t n_bytes)
{
    const header h = header_of(key, data, n_bytes);
    return fwrite(&h, sizeof h, 1, file) == 1 && fwrite(key, 1, h.n_key, file) == h.n_key &&
           fwrite(data, 1, n_bytes, file) == n_bytes && fflush(file) == 0;
}

hsd_status hsdi_keep_write(const char *kind, const char *key, const void *data, size_t n_bytes,
                           hsd_error *err)
{
    char path[PATH_MAX], beside[PATH_MAX + 8];
    if (n_bytes == 0 || n_bytes > MAX_BYTES || !hsdi_keep_path(kind, key, path, sizeof path)) {
        return HSD_OK;
    }
    snprintf(beside, sizeof beside, "%s.XXXXXX", path);
    int fd = make_folders(path) ? mkstemp(beside) : -1;
    if (fd < 0) {
        return hsdi_fail_errno(err, HSD_EIO, path, errno, "cannot be written");
    }
    FILE *file = fdopen(fd, "wb");
    bool good = file && write_data(file, key, data, n_bytes);
    int code = good ? 0 : errno;
    if (file) {
        good = fclose(file) == 0 && good; // a full disk may show only here
    } else {
        close(fd);
    }
    if (!good || rename(beside, path) != 0) {
        code = code ? code : errno;
        (void)unlink(beside);
        return hsdi_fail_errno(err, HSD_EIO, path, code, "cannot be written");
    }
    return HSD_OK;
}
