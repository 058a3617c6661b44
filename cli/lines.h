/// Lines of a file of any bytes, one at a time, with a bound on what is kept of each.
#ifndef HSD_CLI_LINES_H
#define HSD_CLI_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/// The last line that was read. Bytes are borrowed until the next call.
typedef struct cli_line {
    const char *bytes; ///< without the newline; at most the bound
    size_t n_bytes;
    int64_t number; ///< from 1
    int64_t end;    ///< offset behind the line in what was read
    uint64_t hash;  ///< of all bytes without the newline, also beyond the bound
    bool too_long;  ///< the rest beyond the bound was dropped
    bool complete;  ///< ended by a newline, not by the end of the file
    bool blank;     ///< nothing but spaces, tabs and carriage returns
} cli_line;

/// A file being read. `stopped` (may be NULL) is asked while waiting for a pipe or terminal.
typedef struct cli_lines {
    int fd;
    const char *name; ///< for error lines
    bool (*stopped)(void *user);
    void *stopped_user;
    size_t max_bytes;
    char *line; ///< owned
    size_t cap;
    char *block; ///< owned
    size_t n_block, at;
    int64_t number, offset;
} cli_lines;

typedef enum cli_lines_result {
    CLI_LINES_END,
    CLI_LINES_LINE,
    CLI_LINES_STOPPED,
    CLI_LINES_FAILED, ///< errno says why
} cli_lines_result;

/// Borrows fd; reads from where it stands.
void cli_lines_init(cli_lines *lines, int fd, const char *name, size_t max_bytes);
void cli_lines_fini(cli_lines *lines);
cli_lines_result cli_lines_next(cli_lines *lines, cli_line *out);

/// FNV-1a, 64 bits, of a first or a further part of some bytes.
/// Source : http://www.isthe.com/chongo/tech/comp/fnv/
#define CLI_HASH_BEGIN UINT64_C(0xcbf29ce484222325)
uint64_t cli_hash(uint64_t hash, const void *bytes, size_t n_bytes);

#endif
