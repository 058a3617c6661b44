/// Reading, checking and making the files of keys.h.
#include <base/error.h>
#include <errno.h>
#include <fcntl.h>
#include <pipelines/transport/keys.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

/// A file's text at the line that is being read.
typedef struct lines {
    const char *at, *end;
    const char *where;
    int64_t number; ///< of the line, from 1
} lines;

/// Part of a line, not NUL-terminated.
typedef struct word {
    const char *at;
    size_t n_bytes;
} word;

static hsd_status fail_line(hsd_error *err, const lines *text, const char *message)
{
    hsdi_fail(err, HSD_EFORMAT, text->where, "%s", message);
    if (err) {
        err->line = text->number;
    }
    return HSD_EFORMAT;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/// The next line that says something, without blanks around it. False at the end of the text.
static bool next_line(lines *text, word *line)
{
    while (text->at < text->end) {
        const char *begin = text->at;
        const char *newline = memchr(begin, '\n', (size_t)(text->end - begin));
        const char *end = newline ? newline : text->end;
        text->at = newline ? newline + 1 : text->end;
        text->number++;
        while (begin < end && is_blank(*begin)) {
            begin++;
        }
        while (end > begin && is_blank(end[-1])) {
            end--;
        }
        if (begin < end && *begin != '#') {
            *line = (word){begin, (size_t)(end - begin)};
            return true;
        }
    }
    return false;
}

/// The first word of `line`, which becomes what follows it.
static word take_word(word *line)
{
    word first = {line->at, 0};
    while (first.n_bytes < line->n_bytes && !is_blank(first.at[first.n_bytes])) {
        first.n_bytes++;
    }
    line->at += first.n_bytes;
    line->n_bytes -= first.n_bytes;
    while (line->n_bytes > 0 && is_blank(*line->at)) {
        line->at++;
        line->n_bytes--;
    }
    return first;
}

static bool is_word(word w, const char *text)
{
    return w.n_bytes == strlen(text) && memcmp(w.at, text, w.n_bytes) == 0;
}

static hsd_status take_key(const lines *text, word w, char out[HSDI_KEY_CHARS + 1], hsd_error *err)
{
    uint8_t bytes[HSDI_KEY_CHARS * 4 / 5];
    char copy[HSDI_KEY_CHARS + 1] = {0};
    if (w.n_bytes != HSDI_KEY_CHARS) {
        char message[96];
        snprintf(message, sizeof message, "a key has %d characters, this word has %zu",
                 (int)HSDI_KEY_CHARS, w.n_bytes);
        return fail_line(err, text, message);
    }
    memcpy(copy, w.at, HSDI_KEY_CHARS);
    bool is_z85 = strlen(copy) == HSDI_KEY_CHARS && zmq_z85_decode(bytes, copy) != NULL;
    if (is_z85) {
        memcpy(out, copy, sizeof copy);
    }
    explicit_bzero(bytes, sizeof bytes);
    explicit_bzero(copy, sizeof copy);
    return is_z85 ? HSD_OK : fail_line(err, text, "these 40 characters are no key in Z85");
}

void hsdi_key_pair_clear(hsdi_key_pair *pair)
{
    explicit_bzero(pair, sizeof *pair);
}

/// One line of a NAME.key file.
static hsd_status take_half(const lines *text, word line, hsdi_key_pair *pair, hsd_error *err)
{
    word what = take_word(&line), key = take_word(&line);
    bool is_secret = is_word(what, "secret");
    if (!is_secret && !is_word(what, "public")) {
        return fail_line(err, text,
                         what.n_bytes == HSDI_KEY_CHARS
                             ? "this is a public key: NAME.key is needed, with the secret one"
                             : "a line here is `public KEY' or `secret KEY'");
    }
    char *half = is_secret ? pair->secret_key : pair->public_key;
    if (line.n_bytes > 0 || half[0]) {
        return fail_line(err, text,
                         half[0] ? "this half was there already" : "something follows the key");
    }
    return take_key(text, key, half, err);
}

hsd_status hsdi_key_pair_parse(const char *bytes, size_t n_bytes, const char *where,
                               hsdi_key_pair *out, hsd_error *err)
{
    lines text = {bytes, bytes + n_bytes, where, 0};
    hsdi_key_pair pair = {0};
    char derived[HSDI_KEY_CHARS + 1];
    hsd_status status = HSD_OK;
    word line;
    while (status == HSD_OK && next_line(&text, &line)) {
        status = take_half(&text, line, &pair, err);
    }
    if (status == HSD_OK && (!pair.public_key[0] || !pair.secret_key[0])) {
        status = fail_line(err, &text,
                           pair.public_key[0] ? "the line `secret KEY' is missing: the file was cut"
                                              : "the line `public KEY' is missing");
    }
    if (status == HSD_OK && zmq_curve_public(derived, pair.secret_key) != 0) {
        status = hsdi_fail(err, HSD_EUNSUPPORTED, where, "ZeroMQ was built without CURVE");
    }
    if (status == HSD_OK && strcmp(derived, pair.public_key) != 0) {
        status = fail_line(err, &text, "public and secret key do not belong together");
    }
    if (status == HSD_OK) {
        *out = pair;
    }
    hsdi_key_pair_clear(&pair);
    return status;
}

/// One line of a list: a key and what it is called.
static hsd_status take_public(const lines *text, word line, hsdi_public_key *out, hsd_error *err)
{
    word key = take_word(&line);
    if (is_word(key, "secret") || is_word(key, "public")) {
        return fail_line(err, text,
                         "this is a NAME.key file, which nobody else should have: the other one, "
                         "NAME.pub, is meant");
    }
    *out = (hsdi_public_key){0};
    size_t n = line.n_bytes < sizeof out->name ? line.n_bytes : sizeof out->name - 1;
    for (size_t i = 0; i < n; i++) {
        bool is_control = (unsigned char)line.at[i] < ' ' || line.at[i] == 0x7f;
        out->name[i] = is_control ? '?' : line.at[i];
    }
    return take_key(text, key, out->key, err);
}

hsd_status hsdi_public_keys_parse(const char *bytes, size_t n_bytes, const char *where,
                                  hsdi_public_key *out, size_t cap, size_t *n_keys, hsd_error *err)
{
    lines text = {bytes, bytes + n_bytes, where, 0};
    size_t n = 0;
    word line;
    while (next_line(&text, &line)) {
        hsdi_public_key key;
        hsd_status status = take_public(&text, line, &key, err);
        if (status != HSD_OK) {
            return status;
        }
        if (n < cap) {
            out[n] = key;
        }
        n++;
    }
    if (n == 0) {
        return fail_line(err, &text, "there is no key in this file");
    }
    *n_keys = n;
    return HSD_OK;
}

/// What must hold of an open file before it is read.
static hsd_status check_file(int fd, const char *path, struct stat *about, hsd_error *err)
{
    if (fstat(fd, about) != 0) {
        return hsdi_fail_errno(err, HSD_EIO, path, errno, "cannot be examined");
    }
    if (!S_ISREG(about->st_mode)) {
        return hsdi_fail(err, HSD_EIO, path, "a key file is needed here, and this is %s",
                         S_ISDIR(about->st_mode) ? "a folder" : "no regular file");
    }
    if (about->st_size > HSDI_KEY_FILE_BYTES_MAX) {
        return hsdi_fail(err, HSD_EFORMAT, path, "%lld bytes are too many for a file of keys",
                         (long long)about->st_size);
    }
    return HSD_OK;
}

/// Up to n_bytes; *n_bytes becomes what was there.
static hsd_status read_bytes(int fd, const char *path, char *out, size_t *n_bytes, hsd_error *err)
{
    size_t n = 0;
    while (n < *n_bytes) {
        ssize_t got = read(fd, out + n, *n_bytes - n);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return hsdi_fail_errno(err, HSD_EIO, path, errno, "cannot be read");
        }
        if (got == 0) {
            break;
        }
        n += (size_t)got;
    }
    *n_bytes = n;
    return HSD_OK;
}

/// A key file in memory.
typedef struct file_text {
    char *bytes; ///< owned
    size_t n_bytes;
    mode_t mode;
} file_text;

/// free_text frees it, also after a failure.
static hsd_status read_text(const char *path, file_text *text, hsd_error *err)
{
    struct stat about;
    *text = (file_text){0};
    // Not blocking: the path may name a pipe.
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return hsdi_fail_errno(err, HSD_EIO, path, errno, "cannot be opened");
    }
    hsd_status status = check_file(fd, path, &about, err);
    if (status == HSD_OK && !(text->bytes = malloc((size_t)about.st_size + 1))) {
        status = hsdi_fail(err, HSD_ENOMEM, path, "no memory for the file");
    }
    if (status == HSD_OK) {
        text->mode = about.st_mode;
        text->n_bytes = (size_t)about.st_size;
        status = read_bytes(fd, path, text->bytes, &text->n_bytes, err);
    }
    close(fd);
    return status;
}

static void free_text(file_text *text)
{
    if (text->bytes) {
        explicit_bzero(text->bytes, text->n_bytes);
        free(text->bytes);
    }
}

hsd_status hsdi_key_pair_read(const char *path, hsdi_key_pair *out, hsd_error *err)
{
    file_text text;
    hsd_status status = read_text(path, &text, err);
    if (status == HSD_OK) {
        status = hsdi_key_pair_parse(text.bytes, text.n_bytes, path, out, err);
    }
    if (status == HSD_OK && (text.mode & (S_IRWXG | S_IRWXO)) != 0) {
        hsdi_key_pair_clear(out);
        status = hsdi_fail(err, HSD_EIO, path,
                           "others may use this secret key (mode %04o): chmod 600 it, and make "
                           "another if somebody did",
                           (unsigned)text.mode & 07777U);
    }
    free_text(&text);
    return status;
}

/// All keys of a file, owned by the caller.
static hsd_status read_list(const char *path, hsdi_public_key **keys, size_t *n_keys,
                            hsd_error *err)
{
    file_text text;
    hsd_status status = read_text(path, &text, err);
    *keys = NULL;
    *n_keys = 0;
    if (status == HSD_OK) {
        status = hsdi_public_keys_parse(text.bytes, text.n_bytes, path, NULL, 0, n_keys, err);
    }
    if (status == HSD_OK && !(*keys = calloc(*n_keys, sizeof **keys))) {
        status = hsdi_fail(err, HSD_ENOMEM, path, "no memory for %zu keys", *n_keys);
    }
    if (status == HSD_OK) {
        status =
            hsdi_public_keys_parse(text.bytes, text.n_bytes, path, *keys, *n_keys, n_keys, err);
    }
    free_text(&text);
    return status;
}

hsd_status hsdi_public_key_read(const char *path, hsdi_public_key *out, hsd_error *err)
{
    hsdi_public_key *keys;
    size_t n_keys;
    hsd_status status = read_list(path, &keys, &n_keys, err);
    if (status == HSD_OK && n_keys != 1) {
        status =
            hsdi_fail(err, HSD_EFORMAT, path, "one public key is needed, and here are %zu", n_keys);
    } else if (status == HSD_OK) {
        *out = keys[0];
    }
    free(keys);
    return status;
}

hsd_status hsdi_clients_find(const char *path, const char *key, bool *is_listed,
                             char name[HSDI_KEY_NAME_BYTES], hsd_error *err)
{
    hsdi_public_key *keys;
    size_t n_keys;
    *is_listed = false;
    hsd_status status = read_list(path, &keys, &n_keys, err);
    for (size_t i = 0; status == HSD_OK && key && i < n_keys && !*is_listed; i++) {
        *is_listed = strcmp(keys[i].key, key) == 0;
        if (*is_listed && name) {
            memcpy(name, keys[i].name, HSDI_KEY_NAME_BYTES);
        }
    }
    free(keys);
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), n_end = strlen(end);
    return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

/// The last part of a path, which is what the key is called; NULL when it will not do.
static const char *check_name(const char *path, hsd_error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    bool is_plain = name[0] && name[0] != '.' && strlen(name) < HSDI_KEY_NAME_BYTES;
    for (const char *c = name; *c; c++) {
        is_plain = is_plain && (unsigned char)*c > ' ' && *c != 0x7f;
    }
    if (!is_plain) {
        hsdi_fail(err, HSD_EINVAL, path,
                  "a key's name has 1..%d characters, no blanks, and no dot in front",
                  HSDI_KEY_NAME_BYTES - 1);
    } else if (ends_with(name, ".key") || ends_with(name, ".pub")) {
        hsdi_fail(err, HSD_EINVAL, path, "give the name without .key and .pub: both are made");
        is_plain = false;
    }
    return is_plain ? name : NULL;
}

/// Write a file that must not be there yet.
static hsd_status write_new(const char *path, mode_t mode, const char *text, hsd_error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) {
        int code = errno;
        return hsdi_fail_errno(err, HSD_EIO, path, code, "cannot be made%s",
                               code == EEXIST ? ", and is not overwritten" : "");
    }
    size_t n = strlen(text);
    ssize_t written = write(fd, text, n);
    int code = written < 0 ? errno : ENOSPC;
    if (close(fd) != 0 && written == (ssize_t)n) {
        code = errno;
        written = -1;
    }
    if (written != (ssize_t)n) {
        (void)unlink(path);
        return hsdi_fail_errno(err, HSD_EIO, path, code, "cannot be written");
    }
    return HSD_OK;
}

/// `path` with an ending, owned by the caller; NULL without memory.
static char *join(const char *path, const char *end)
{
    size_t n_bytes = strlen(path) + strlen(end) + 1;
    char *joined = malloc(n_bytes);
    if (joined) {
        snprintf(joined, n_bytes, "%s%s", path, end);
    }
    return joined;
}

static hsd_status write_pair(const char *path, const char *name, const hsdi_key_pair *pair,
                             hsd_error *err)
{
    char text[4 * HSDI_KEY_CHARS + 2 * HSDI_KEY_NAME_BYTES];
    char *key_path = join(path, ".key"), *pub_path = join(path, ".pub");
    hsd_status status = HSD_OK;
    if (!key_path || !pub_path) {
        status = hsdi_fail(err, HSD_ENOMEM, path, "no memory for its path");
        goto done;
    }
    snprintf(text, sizeof text, "%s %s\n", pair->public_key, name);
    status = write_new(pub_path, 0644, text, err);
    if (status != HSD_OK) {
        goto done;
    }
    snprintf(text, sizeof text,
             "# key pair of %s; the secret half stays here\npublic %s\nsecret %s\n", name,
             pair->public_key, pair->secret_key);
    status = write_new(key_path, 0600, text, err);
    if (status != HSD_OK) {
        (void)unlink(pub_path);
    }
done:
    explicit_bzero(text, sizeof text);
    free(key_path);
    free(pub_path);
    return status;
}

hsd_status hsdi_key_files_create(const char *path, hsd_error *err)
{
    const char *name = check_name(path, err);
    if (!name) {
        return HSD_EINVAL;
    }
    hsdi_key_pair pair;
    do {
        if (zmq_curve_keypair(pair.public_key, pair.secret_key) != 0) {
            return hsdi_fail(err, HSD_EUNSUPPORTED, path, "ZeroMQ was built without CURVE");
        }
    } while (pair.public_key[0] == '#'); // would be a comment in a list of clients
    hsd_status status = write_pair(path, name, &pair, err);
    hsdi_key_pair_clear(&pair);
    return status;
}
