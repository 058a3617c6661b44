/// Any bytes as key files: a key pair, and a list of public keys.
///
/// Looks for: reads outside the text (it lies in a block of its own size, under a sanitizer),
/// errors without a place and a sentence, keys that are no 40 characters, and counts that depend on
/// how many keys the caller has room for.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <pipelines/transport/keys.h>

enum { ROOM = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void check_error(hsd_status status, const hsd_error *err)
{
    must(status == HSD_EFORMAT && err->status == status);
    must(strcmp(err->where, "file") == 0 && err->message[0] && err->line >= 0);
}

static void check_pair(const char *text, size_t size)
{
    hsdi_key_pair pair = {0};
    hsd_error err = {0};
    hsd_status status = hsdi_key_pair_parse(text, size, "file", &pair, &err);
    if (status != HSD_OK) {
        check_error(status, &err);
        must(pair.secret_key[0] == 0);
    } else {
        must(strlen(pair.public_key) == HSDI_KEY_CHARS);
        must(strlen(pair.secret_key) == HSDI_KEY_CHARS);
    }
}

static void check_list(const char *text, size_t size)
{
    hsdi_public_key keys[ROOM];
    hsd_error err = {0};
    size_t n = 0, n_again = 0;
    hsd_status status = hsdi_public_keys_parse(text, size, "file", keys, ROOM, &n, &err);
    if (status != HSD_OK) {
        check_error(status, &err);
        return;
    }
    must(n >= 1 && n <= size / HSDI_KEY_CHARS);
    for (size_t i = 0; i < n && i < ROOM; i++) {
        must(strlen(keys[i].key) == HSDI_KEY_CHARS);
        must(memchr(keys[i].name, 0, sizeof keys[i].name) != NULL);
    }
    must(hsdi_public_keys_parse(text, size, "file", NULL, 0, &n_again, NULL) == HSD_OK);
    must(n == n_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size > 0 ? size : 1);
    must(text != NULL);
    if (size > 0) {
        memcpy(text, data, size);
    }
    check_pair(text, size);
    check_list(text, size);
    free(text);
    return 0;
}
