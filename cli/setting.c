/// Settings of a session by name, from options and from JSON.
#include "cli/setting.h"

#include "cli/lines.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define AT(field) offsetof(hsd_session_options, field)

const cli_setting cli_settings[] = {
    {CLI_KEY_TOKENS, "tokens", CLI_SETTING_INT, AT(n_tokens), 0, INT_MAX, false},
    {CLI_KEY_MODE, "mode", CLI_SETTING_MODE, AT(mode), 0, 0, true},
    {CLI_KEY_DRAFT_KIND, "draft_kind", CLI_SETTING_DRAFT_KIND, AT(draft_kind), 0, 0, true},
    {CLI_KEY_WINDOW, "window", CLI_SETTING_INT, AT(window), 0, 16, true},
    {CLI_KEY_TREE, "tree", CLI_SETTING_INT, AT(tree), 0, 32, true},
    {CLI_KEY_WITH_NGRAM, "with_ngram", CLI_SETTING_FLAG, AT(with_ngram), 0, 0, true},
    {CLI_KEY_ROOTS, "roots", CLI_SETTING_INT, AT(roots), 0, 64, true},
    {CLI_KEY_EXIT, "exit", CLI_SETTING_INT, AT(exit_layer), 0, INT_MAX, true},
    {CLI_KEY_TEMP, "temp", CLI_SETTING_REAL, AT(sampling.temperature), 0, 100, false},
    {CLI_KEY_TOP_K, "top_k", CLI_SETTING_INT, AT(sampling.top_k), 0, INT_MAX, false},
    {CLI_KEY_TOP_P, "top_p", CLI_SETTING_REAL, AT(sampling.top_p), 1e-6, 1, false},
    {CLI_KEY_MIN_P, "min_p", CLI_SETTING_REAL, AT(sampling.min_p), 0, 1, false},
    {CLI_KEY_SEED, "seed", CLI_SETTING_U64, AT(sampling.seed), 0, 0, false},
    {CLI_KEY_REPEAT_PENALTY, "repeat_penalty", CLI_SETTING_REAL, AT(sampling.repeat_penalty), 0.01,
     100, false},
    {CLI_KEY_REPEAT_LAST_N, "repeat_last_n", CLI_SETTING_INT, AT(sampling.repeat_last_n), -1,
     INT_MAX, false},
    {CLI_KEY_NO_REPEAT_NGRAM, "no_repeat_ngram", CLI_SETTING_INT, AT(sampling.no_repeat_ngram), 0,
     INT_MAX, false},
    {CLI_KEY_IGNORE_EOS, "ignore_eos", CLI_SETTING_FLAG, AT(ignore_eos), 0, 0, false},
};
const size_t cli_n_settings = sizeof cli_settings / sizeof cli_settings[0];

const cli_setting *cli_setting_by_name(const char *name)
{
    for (size_t i = 0; i < cli_n_settings; i++) {
        if (strcmp(cli_settings[i].name, name) == 0) {
            return &cli_settings[i];
        }
    }
    return NULL;
}

const cli_setting *cli_setting_by_key(int key)
{
    for (size_t i = 0; i < cli_n_settings; i++) {
        if (cli_settings[i].key == key) {
            return &cli_settings[i];
        }
    }
    return NULL;
}

/// The setting's field, as large as its kind. memcpy keeps the access legal for any field type.
static size_t size_of(const cli_setting *s)
{
    switch (s->kind) {
    case CLI_SETTING_REAL:
        return sizeof(float);
    case CLI_SETTING_U64:
        return sizeof(uint64_t);
    case CLI_SETTING_FLAG:
        return sizeof(bool);
    case CLI_SETTING_MODE:
        return sizeof(hsd_mode);
    case CLI_SETTING_DRAFT_KIND:
        return sizeof(hsd_draft_kind);
    default:
        return sizeof(int);
    }
}

static void put(const cli_setting *s, hsd_session_options *out, const void *value)
{
    memcpy((char *)out + s->offset, value, size_of(s));
}

void cli_setting_parse(const cli_setting *s, const struct argp_state *state, const char *text,
                       hsd_session_options *out)
{
    char option[32];
    snprintf(option, sizeof option, "--%s", s->name);
    for (char *at = option; *at; at++) {
        *at = *at == '_' ? '-' : *at;
    }
    switch (s->kind) {
    case CLI_SETTING_INT:
        put(s, out,
            &(int){(int)cli_parse_int(state, option, text, (long long)s->min, (long long)s->max)});
        break;
    case CLI_SETTING_REAL:
        put(s, out, &(float){(float)cli_parse_real(state, option, text, s->min, s->max)});
        break;
    case CLI_SETTING_U64:
        put(s, out, &(uint64_t){cli_parse_u64(state, option, text)});
        break;
    case CLI_SETTING_FLAG:
        put(s, out, &(bool){true});
        break;
    case CLI_SETTING_MODE:
        put(s, out, &(hsd_mode){cli_parse_mode(state, option, text)});
        break;
    case CLI_SETTING_DRAFT_KIND:
        put(s, out, &(hsd_draft_kind){cli_parse_draft_kind(state, option, text)});
        break;
    }
}

static bool number_from_json(const cli_setting *s, const json_t *value, hsd_session_options *out,
                             char *why, size_t why_size)
{
    double x = json_number_value(value);
    bool whole = s->kind != CLI_SETTING_REAL;
    if (whole ? !json_is_integer(value) : !json_is_number(value)) {
        snprintf(why, why_size, "it is not a %snumber", whole ? "whole " : "");
        return false;
    }
    if (s->kind == CLI_SETTING_U64) {
        if (json_integer_value(value) < 0) {
            snprintf(why, why_size, "%lld is negative", (long long)json_integer_value(value));
            return false;
        }
        put(s, out, &(uint64_t){(uint64_t)json_integer_value(value)});
        return true;
    }
    if (x < s->min || x > s->max) {
        snprintf(why, why_size, "%.9g is not in %.10g..%.10g", x, s->min, s->max);
        return false;
    }
    if (whole) {
        put(s, out, &(int){(int)json_integer_value(value)});
    } else {
        put(s, out, &(float){(float)x});
    }
    return true;
}

static bool name_from_json(const cli_setting *s, const json_t *value, hsd_session_options *out,
                           char *why, size_t why_size)
{
    const char *name = json_string_value(value);
    hsd_mode mode;
    hsd_draft_kind kind;
    bool is_mode = s->kind == CLI_SETTING_MODE;
    if (name && is_mode && cli_find_mode(name, &mode)) {
        put(s, out, &mode);
        return true;
    }
    if (name && !is_mode && cli_find_draft_kind(name, &kind)) {
        put(s, out, &kind);
        return true;
    }
    snprintf(why, why_size, "it is none of %s", is_mode ? CLI_MODE_NAMES : CLI_DRAFT_KIND_NAMES);
    return false;
}

bool cli_setting_from_json(const cli_setting *s, const json_t *value, hsd_session_options *out,
                           char *why, size_t why_size)
{
    switch (s->kind) {
    case CLI_SETTING_FLAG:
        if (!json_is_boolean(value)) {
            snprintf(why, why_size, "it is neither true nor false");
            return false;
        }
        put(s, out, &(bool){json_is_true(value)});
        return true;
    case CLI_SETTING_MODE:
    case CLI_SETTING_DRAFT_KIND:
        return name_from_json(s, value, out, why, why_size);
    default:
        return number_from_json(s, value, out, why, why_size);
    }
}

uint64_t cli_settings_hash(uint64_t hash, const hsd_session_options *options)
{
    for (size_t i = 0; i < cli_n_settings; i++) {
        const cli_setting *s = &cli_settings[i];
        if (!s->speed_only) {
            hash = cli_hash(hash, s->name, strlen(s->name));
            hash = cli_hash(hash, (const char *)options + s->offset, size_of(s));
        }
    }
    return hash;
}

bool cli_settings_equal(const hsd_session_options *a, const hsd_session_options *b)
{
    for (size_t i = 0; i < cli_n_settings; i++) {
        const cli_setting *s = &cli_settings[i];
        if (memcmp((const char *)a + s->offset, (const char *)b + s->offset, size_of(s)) != 0) {
            return false;
        }
    }
    return true;
}
