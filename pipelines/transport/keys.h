/// CURVE keys and the text files that hold them.
///
/// A key is 40 characters of Z85. Three files, all of lines where `#` begins a comment:
///
///     NAME.key   `public KEY` and `secret KEY`; nobody but its owner may read it
///     NAME.pub   `KEY NAME`
///     clients    any number of such lines: `cat *.pub`
#ifndef HSDI_PIPELINES_TRANSPORT_KEYS_H
#define HSDI_PIPELINES_TRANSPORT_KEYS_H

#include <hsd/status.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    HSDI_KEY_CHARS = 40,
    HSDI_KEY_NAME_BYTES = 64,
    HSDI_KEY_FILE_BYTES_MAX = 1 << 20,
};

/// Both halves, NUL-terminated. Clear it after use.
typedef struct hsdi_key_pair {
    char public_key[HSDI_KEY_CHARS + 1], secret_key[HSDI_KEY_CHARS + 1];
} hsdi_key_pair;

/// Somebody's public half and what it is called (may be empty).
typedef struct hsdi_public_key {
    char key[HSDI_KEY_CHARS + 1];
    char name[HSDI_KEY_NAME_BYTES];
} hsdi_public_key;

/// Zero both halves so that no copy stays in memory.
void hsdi_key_pair_clear(hsdi_key_pair *pair);

/// Parse the text of a NAME.key file.
///
/// Shapes : text [n_bytes], not NUL-terminated.
/// Errors : HSD_EFORMAT with `where`, the line and a sentence that quotes nothing of the file.
HSD_NODISCARD hsd_status hsdi_key_pair_parse(const char *text, size_t n_bytes, const char *where,
                                             hsdi_key_pair *out, hsd_error *err);

/// Parse a NAME.pub file or a list of clients, and keep the first keys [cap] of it.
///
/// Result : *n_keys is the number of keys in the text, at least 1, also when it exceeds cap.
/// Errors : as hsdi_key_pair_parse.
HSD_NODISCARD hsd_status hsdi_public_keys_parse(const char *text, size_t n_bytes, const char *where,
                                                hsdi_public_key *out, size_t cap, size_t *n_keys,
                                                hsd_error *err);

/// Read a NAME.key file.
///
/// Errors : HSD_EIO also when others than the owner may read or write it; HSD_EFORMAT; HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_key_pair_read(const char *path, hsdi_key_pair *out, hsd_error *err);

/// Read a NAME.pub file, which has one key. Errors: HSD_EIO, HSD_EFORMAT, HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_public_key_read(const char *path, hsdi_public_key *out,
                                              hsd_error *err);

/// Look a key up in a list of clients. The file is read each time: who is taken off it does not
/// come in again.
///
/// Shapes : key [HSDI_KEY_CHARS + 1]; NULL only checks the file.
/// Result : *is_listed, and then *name (may be NULL) is the name beside the key.
/// Errors : HSD_EIO, HSD_EFORMAT, HSD_ENOMEM: nobody is listed then.
HSD_NODISCARD hsd_status hsdi_clients_find(const char *path, const char *key, bool *is_listed,
                                           char name[HSDI_KEY_NAME_BYTES], hsd_error *err);

/// Make a key pair and write it to `name`.key (mode 0600) and `name`.pub.
///
/// Errors : HSD_EINVAL for the name; HSD_EIO, also when one of the files is there already: nothing
///          is overwritten; HSD_EUNSUPPORTED when ZeroMQ was built without CURVE; HSD_ENOMEM.
HSD_NODISCARD hsd_status hsdi_key_files_create(const char *name, hsd_error *err);

#endif
