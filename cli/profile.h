/// What the files of `hsd profile` share.
#ifndef HSD_CLI_PROFILE_H
#define HSD_CLI_PROFILE_H

#include "cli/cli.h"

enum { PROFILE_MAX_PROMPTS = 64, PROFILE_REASON_BYTES = 160 };

typedef struct profile_options {
    cli_generation g;
    hsd_profile_options measured; ///< its lists are in `g`
    const char *prompts[PROFILE_MAX_PROMPTS];
    const char *out_file, *report_file, *trace_file;
    const char *piece;  ///< of a child: "begin", or a number; NULL: the whole
    int parent;         ///< of a child: who started it
    int n_seconds_most; ///< of a piece, before it is taken for hung
    bool json, has_tokens;
    int argc; ///< the program's own arguments, for children
    char **argv;
} profile_options;

/// What a child process said.
typedef struct profile_answer {
    char *text; ///< its standard output; owned, NUL-terminated; NULL: it failed
    size_t n_bytes;
    char reason[PROFILE_REASON_BYTES]; ///< of a failure, a half sentence
    bool has_crashed;                  ///< or did not end
} profile_answer;

/// Run this program again for one piece, with `input` [n_input] on its standard input; `skip` is
/// of hsd_profile_options. Returns an exit code: CLI_OK also when the child failed or crashed,
/// CLI_INTERRUPTED.
int profile_ask_child(const profile_options *o, const char *piece, int skip, const char *input,
                      size_t n_input, profile_answer *out);

/// In a child: end when the parent does, however that ends. False: it has ended already.
bool profile_follow_parent(int parent);

/// `--report FILE`: generate with a trace and write the page.
int profile_report(profile_options *o);

/// The page's text, with @DATA@ where the data belong (report_page.html).
extern const unsigned char cli_report_page[];
extern const size_t cli_report_page_bytes;

#endif
