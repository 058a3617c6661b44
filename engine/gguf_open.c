/// Opening and closing GGUF files: the memory map around the parser in gguf.c.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/gguf_internal.h"

// Takes over `mapped` (may be NULL), also on failure.
static hsd_status open_bytes(const void *data, size_t size, void *mapped, hsdi_gguf **out,
                             hsd_error *err)
{
    *out = NULL;
    hsdi_gguf *g = calloc(1, sizeof *g);
    if (!g) {
        if (mapped) {
            munmap(mapped, size);
        }
        return hsdi_fail(err, HSD_ENOMEM, "gguf", "no memory for the file object");
    }
    *g = (hsdi_gguf){.data = data, .size = size, .mapped = mapped};
    hsd_status s = hsdi_gguf_parse(g, err);
    if (s != HSD_OK) {
        hsdi_gguf_close(&g);
        return s;
    }
    *out = g;
    return HSD_OK;
}

hsd_status hsdi_gguf_open_memory(const void *data, size_t size_bytes, hsdi_gguf **out,
                                 hsd_error *err)
{
    return open_bytes(data, size_bytes, NULL, out, err);
}

hsd_status hsdi_gguf_open(const char *path, hsdi_gguf **out, hsd_error *err)
{
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return hsdi_fail_errno(err, HSD_EIO, path, errno, "the model file cannot be opened");
    }
    struct stat st;
    hsd_status s;
    if (fstat(fd, &st) != 0) {
        s = hsdi_fail_errno(err, HSD_EIO, path, errno, "the model file cannot be examined");
    } else if (!S_ISREG(st.st_mode)) {
        s = hsdi_fail(err, HSD_EIO, path, "the model file is not a regular file");
    } else if (st.st_size == 0) {
        s = hsdi_fail_at(err, HSD_EFORMAT, path, 0, "the model file is empty");
    } else {
        size_t size = (size_t)st.st_size;
        void *mapped = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        s = mapped == MAP_FAILED
                ? hsdi_fail_errno(err, HSD_EIO, path, errno, "the model file cannot be mapped")
                : open_bytes(mapped, size, mapped, out, err);
    }
    close(fd);
    return s;
}

void hsdi_gguf_leave_mapped(hsdi_gguf *g)
{
    g->mapped = NULL;
}

void hsdi_gguf_close(hsdi_gguf **g)
{
    if (!g || !*g) {
        return;
    }
    hsdi_strmap_fini(&(*g)->key_index);
    hsdi_strmap_fini(&(*g)->tensor_index);
    hsdi_arena_fini(&(*g)->arena);
    if ((*g)->mapped) {
        munmap((*g)->mapped, (size_t)(*g)->size);
    }
    free(*g);
    *g = NULL;
}
