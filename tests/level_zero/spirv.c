/// Kernels and parameters as a SPIR-V module declares them, and its translation to LLVM bitcode.
///
/// Source: SPIR-V Specification 1.2, section 3.32. Only what describes an interface is read.
#include "driver.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum {
    MAGIC = 0x07230203,
    VERSION = 0x00010200, // 1.2, as the properties of the device say
    OP_ENTRY_POINT = 15,
    OP_EXECUTION_MODE = 16,
    OP_TYPE_BOOL = 20,
    OP_TYPE_INT = 21,
    OP_TYPE_FLOAT = 22,
    OP_TYPE_VECTOR = 23,
    OP_TYPE_POINTER = 32,
    OP_TYPE_FUNCTION = 33,
    OP_FUNCTION = 54,
    MODEL_KERNEL = 6,
    MODE_LOCAL_SIZE = 17,
    CLASS_UNIFORM_CONSTANT = 0,
    CLASS_WORKGROUP = 4,
    CLASS_CROSS_WORKGROUP = 5,
};

/// Of every number in a module: the instruction that made it, at `at`, if it is a type.
typedef struct reader {
    const uint32_t *words;
    size_t n_words;
    uint32_t bound;
    uint32_t *at; ///< [bound]
} reader;

static const uint32_t *type_of(const reader *r, uint32_t id)
{
    return id < r->bound && r->at[id] ? r->words + r->at[id] : NULL;
}

static size_t size_of(const reader *r, uint32_t id)
{
    const uint32_t *t = type_of(r, id);
    switch (t ? t[0] & 0xffff : 0) {
    case OP_TYPE_BOOL:
        return 1;
    case OP_TYPE_INT:
    case OP_TYPE_FLOAT:
        return t[2] / 8;
    case OP_TYPE_VECTOR: // three elements take the room of four
        return size_of(r, t[2]) * (t[3] == 3 ? 4 : t[3]);
    default:
        return 0;
    }
}

static lz_param param_of(const reader *r, uint32_t id)
{
    const uint32_t *t = type_of(r, id);
    if (t && (t[0] & 0xffff) == OP_TYPE_POINTER) {
        bool global = t[2] == CLASS_CROSS_WORKGROUP || t[2] == CLASS_UNIFORM_CONSTANT;
        return (lz_param){global                    ? LZ_POINTER
                          : t[2] == CLASS_WORKGROUP ? LZ_LOCAL
                                                    : LZ_OTHER,
                          sizeof(void *)};
    }
    size_t size = size_of(r, id);
    return (lz_param){size ? LZ_VALUE : LZ_OTHER, size};
}

static lz_entry *entry_of(lz_spirv *s, uint32_t id)
{
    for (int i = 0; i < s->n_entries; i++) {
        if (s->entries[i].id == id) {
            return &s->entries[i];
        }
    }
    return NULL;
}

static bool read_entry(lz_spirv *s, const uint32_t *w, size_t n)
{
    const char *name = (const char *)(w + 3);
    if (w[1] != MODEL_KERNEL || !memchr(name, 0, (n - 3) * 4)) {
        return false;
    }
    lz_entry *more = realloc(s->entries, (size_t)(s->n_entries + 1) * sizeof *more);
    if (!more) {
        return false;
    }
    s->entries = more;
    s->entries[s->n_entries] = (lz_entry){.name = strdup(name), .id = w[2]};
    s->n_entries++;
    return true;
}

static bool read_function(const reader *r, lz_spirv *s, const uint32_t *w)
{
    lz_entry *entry = entry_of(s, w[2]);
    const uint32_t *type = type_of(r, w[4]);
    if (!entry) {
        return true; // a function that is not a kernel
    }
    if (!type || (type[0] & 0xffff) != OP_TYPE_FUNCTION || (type[0] >> 16) < 3 ||
        (type[0] >> 16) - 3 > LZ_MAX_PARAMS) {
        return false;
    }
    entry->n_params = (int)(type[0] >> 16) - 3;
    for (int i = 0; i < entry->n_params; i++) {
        entry->params[i] = param_of(r, type[3 + i]);
    }
    return true;
}

static bool read_instruction(reader *r, lz_spirv *s, size_t i, size_t n)
{
    const uint32_t *w = r->words + i, op = w[0] & 0xffff;
    if (op == OP_ENTRY_POINT) {
        return n >= 4 && read_entry(s, w, n);
    }
    if (op == OP_EXECUTION_MODE && n >= 6 && w[2] == MODE_LOCAL_SIZE) {
        lz_entry *entry = entry_of(s, w[1]);
        if (entry) {
            memcpy(entry->group, w + 3, sizeof entry->group);
        }
        return true;
    }
    if (op >= OP_TYPE_BOOL && op <= OP_TYPE_FUNCTION) {
        size_t least = op == OP_TYPE_POINTER || op == OP_TYPE_VECTOR || op == OP_TYPE_INT ? 4
                       : op == OP_TYPE_FLOAT || op == OP_TYPE_FUNCTION                    ? 3
                                                                                          : 2;
        if (n < least || w[1] >= r->bound) {
            return false;
        }
        // A vector of vectors is not SPIR-V, and would let size_of run in a circle.
        if (op == OP_TYPE_VECTOR) {
            const uint32_t *part = type_of(r, w[2]);
            if (part && (part[0] & 0xffff) == OP_TYPE_VECTOR) {
                return false;
            }
        }
        r->at[w[1]] = (uint32_t)i;
        return true;
    }
    return op != OP_FUNCTION || (n >= 5 && read_function(r, s, w));
}

bool lz_spirv_read(lz_spirv *out, const uint8_t *code, size_t n_bytes)
{
    *out = (lz_spirv){0};
    if (n_bytes < 20 || n_bytes % 4 != 0 || n_bytes > UINT32_MAX) {
        return false;
    }
    uint32_t *words = malloc(n_bytes);
    if (!words) {
        return false;
    }
    memcpy(words, code, n_bytes);
    reader r = {.words = words, .n_words = n_bytes / 4, .bound = words[3]};
    bool good = words[0] == MAGIC && words[1] <= VERSION && r.bound <= n_bytes;
    r.at = good ? calloc(r.bound ? r.bound : 1, sizeof *r.at) : NULL;
    good = r.at != NULL;
    for (size_t i = 5, n; good && i < r.n_words; i += n) {
        n = words[i] >> 16;
        good = n > 0 && n <= r.n_words - i && read_instruction(&r, out, i, n);
    }
    free(r.at);
    free(words);
    if (!good) {
        lz_spirv_free(out);
    }
    return good;
}

void lz_spirv_free(lz_spirv *spirv)
{
    for (int i = 0; i < spirv->n_entries; i++) {
        free(spirv->entries[i].name);
    }
    free(spirv->entries);
    *spirv = (lz_spirv){0};
}

/// All of a file behind a descriptor, with a zero after it. Owned.
static unsigned char *slurp(int fd, size_t *n_bytes)
{
    off_t end = lseek(fd, 0, SEEK_END);
    unsigned char *bytes = end >= 0 ? malloc((size_t)end + 1) : NULL;
    if (bytes && pread(fd, bytes, (size_t)end, 0) == (ssize_t)end) {
        bytes[end] = 0;
        *n_bytes = (size_t)end;
        return bytes;
    }
    free(bytes);
    return NULL;
}

/// A nameless file.
static int temporary(void)
{
    const char *folder = getenv("TMPDIR");
    char path[512];
    snprintf(path, sizeof path, "%s/hsd_ze_XXXXXX", folder && folder[0] ? folder : "/tmp");
    int fd = mkstemp(path);
    if (fd >= 0) {
        unlink(path);
    }
    return fd;
}

/// llvm-spirv -r, from the standard input to the standard output.
static int translate_files(int in, int out, int err)
{
    const char *program = getenv("HSD_ZE_LLVM_SPIRV");
    char *const args[] = {"llvm-spirv", "-r", "/dev/stdin", "-o", "-", NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = -1;
    if (posix_spawn_file_actions_init(&actions) != 0) {
        return -1;
    }
    if (posix_spawn_file_actions_adddup2(&actions, in, 0) == 0 &&
        posix_spawn_file_actions_adddup2(&actions, out, 1) == 0 &&
        posix_spawn_file_actions_adddup2(&actions, err, 2) == 0 &&
        posix_spawnp(&pid, program ? program : LZ_LLVM_SPIRV, &actions, NULL, args, environ) == 0) {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
    }
    posix_spawn_file_actions_destroy(&actions);
    return status;
}

unsigned char *lz_translate(const uint8_t *code, size_t n_code, size_t *n_bitcode, char **log)
{
    unsigned char *bitcode = NULL;
    size_t n_log = 0;
    int in = temporary(), out = temporary(), err = temporary();
    *log = NULL;
    if (in >= 0 && out >= 0 && err >= 0 && pwrite(in, code, n_code, 0) == (ssize_t)n_code) {
        int status = translate_files(in, out, err);
        if (status == 0) {
            bitcode = slurp(out, n_bitcode);
        } else {
            *log = (char *)slurp(err, &n_log);
        }
    }
    if (!bitcode && (!*log || !n_log)) {
        free(*log);
        *log = strdup("llvm-spirv could not be started, or said nothing");
    }
    int files[] = {in, out, err};
    for (int i = 0; i < 3; i++) {
        if (files[i] >= 0) {
            close(files[i]);
        }
    }
    return bitcode;
}
