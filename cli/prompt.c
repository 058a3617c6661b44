/// Prompts: bytes from a file or stdin, tokens from an engine.
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 1 << 16, PROMPT_MAX_BYTES = 1 << 30 };

static int read_all(FILE *file, const char *name, cli_text *out)
{
    size_t cap = 0;
    for (;;) {
        if (cap - out->n_bytes < READ_BYTES) {
            cap = cap ? 2 * cap : 2 * READ_BYTES;
            char *grown = cap <= PROMPT_MAX_BYTES ? realloc(out->bytes, cap) : NULL;
            if (!grown) {
                return cli_failf("%s: the prompt is too large (ENOMEM)", name);
            }
            out->bytes = grown;
        }
        errno = 0;
        size_t n = fread(out->bytes + out->n_bytes, 1, READ_BYTES, file);
        out->n_bytes += n;
        if (cli_interrupted()) {
            return CLI_INTERRUPTED;
        }
        if (n < READ_BYTES && ferror(file)) {
            return cli_failf("%s: cannot read: %s (EIO)", name, strerror(errno));
        }
        if (n < READ_BYTES) {
            return CLI_OK;
        }
    }
}

int cli_read_text(const char *path, cli_text *out)
{
    *out = (cli_text){0};
    bool from_stdin = strcmp(path, "-") == 0;
    const char *name = from_stdin ? "standard input" : path;
    FILE *file = from_stdin ? stdin : fopen(path, "rb");
    if (!file) {
        return cli_failf("%s: cannot open: %s (EIO)", name, strerror(errno));
    }
    int code = read_all(file, name, out);
    if (!from_stdin) {
        fclose(file);
    }
    if (code != CLI_OK) {
        free(out->bytes);
        *out = (cli_text){0};
    }
    return code;
}

int cli_tokenize(const hsd_engine *engine, const char *text, size_t n_bytes, int32_t **out,
                 int *n_out)
{
    *out = NULL;
    *n_out = 0;
    hsd_error err = cli_no_error();
    int cap = 256;
    for (;;) {
        int32_t *grown = realloc(*out, (size_t)cap * sizeof **out);
        if (!grown) {
            free(*out);
            *out = NULL;
            return cli_failf("prompt: memory could not be allocated (ENOMEM)");
        }
        *out = grown;
        hsd_status status =
            hsd_engine_tokenize(engine, text, n_bytes, true, *out, cap, n_out, &err);
        if (status == HSD_OK) {
            return CLI_OK;
        }
        if (status != HSD_ETOOLONG || *n_out <= cap) {
            free(*out);
            *out = NULL;
            return cli_fail(status, &err);
        }
        cap = *n_out;
    }
}
