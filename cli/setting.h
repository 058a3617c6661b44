/// Settings of a session by name: one table for the options of the command line (`--top-k 40`) and
/// for the keys of a line of `hsd batch` (`"top_k": 40`).
#ifndef HSD_CLI_SETTING_H
#define HSD_CLI_SETTING_H

#include "cli/cli.h"

typedef enum cli_setting_kind {
    CLI_SETTING_INT,        ///< int in min..max
    CLI_SETTING_REAL,       ///< float in min..max
    CLI_SETTING_U64,        ///< uint64_t
    CLI_SETTING_FLAG,       ///< bool; an option without a value
    CLI_SETTING_MODE,       ///< hsd_mode by name
    CLI_SETTING_DRAFT_KIND, ///< hsd_draft_kind by name
} cli_setting_kind;

typedef struct cli_setting {
    int key;          ///< of the argp option
    const char *name; ///< JSON key; the option is the same with `-` for `_`
    cli_setting_kind kind;
    size_t offset; ///< in hsd_session_options
    double min, max;
    bool speed_only; ///< never changes the text
} cli_setting;

extern const cli_setting cli_settings[];
extern const size_t cli_n_settings;

/// NULL when there is no such setting.
const cli_setting *cli_setting_by_name(const char *name);
const cli_setting *cli_setting_by_key(int key);

/// Take an option's value; what is wrong ends the program with exit code 2, as in parse.c.
void cli_setting_parse(const cli_setting *s, const struct argp_state *state, const char *text,
                       hsd_session_options *out);
/// Take a JSON value. False, with a sentence in why [why_size], when type or range is wrong.
bool cli_setting_from_json(const cli_setting *s, const json_t *value, hsd_session_options *out,
                           char *why, size_t why_size);
/// Hash of all settings that can change the text, from `hash` on.
uint64_t cli_settings_hash(uint64_t hash, const hsd_session_options *options);
/// Do two sessions have the same settings?
bool cli_settings_equal(const hsd_session_options *a, const hsd_session_options *b);

#endif
