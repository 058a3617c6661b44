/// Strict parsing of option values: the whole text must be one value of the allowed range.
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/// strtoll and friends skip leading blanks; an option value may not have any.
static bool starts_well(const char *text)
{
    return *text != '\0' && !isspace((unsigned char)*text);
}

long long cli_parse_int(const struct argp_state *state, const char *option, const char *text,
                        long long min, long long max)
{
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (!starts_well(text) || *end != '\0') {
        argp_error(state, "%s: '%s' is not a whole number", option, text);
    } else if (errno == ERANGE || value < min || value > max) {
        argp_error(state, "%s: %s is not in %lld..%lld", option, text, min, max);
    }
    return value;
}

uint64_t cli_parse_u64(const struct argp_state *state, const char *option, const char *text)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (!isdigit((unsigned char)*text) || *end != '\0') {
        argp_error(state, "%s: '%s' is not a whole number from 0 on", option, text);
    } else if (errno == ERANGE) {
        argp_error(state, "%s: %s does not fit into 64 bits", option, text);
    }
    return value;
}

double cli_parse_real(const struct argp_state *state, const char *option, const char *text,
                      double min, double max)
{
    char *end = NULL;
    double value = strtod(text, &end);
    if (!starts_well(text) || *end != '\0' || !isfinite(value)) {
        argp_error(state, "%s: '%s' is not a number", option, text);
    } else if (value < min || value > max) {
        argp_error(state, "%s: %s is not in %g..%g", option, text, min, max);
    }
    return value;
}

int64_t cli_parse_bytes(const struct argp_state *state, const char *option, const char *text)
{
    static const struct {
        const char *name;
        int64_t n_bytes;
    } units[] = {{"", 1},
                 {"B", 1},
                 {"KiB", INT64_C(1) << 10},
                 {"MiB", INT64_C(1) << 20},
                 {"GiB", INT64_C(1) << 30},
                 {"TiB", INT64_C(1) << 40},
                 {"kB", 1000},
                 {"MB", 1000000},
                 {"GB", 1000000000},
                 {"TB", INT64_C(1000000000000)}};
    enum { N_UNITS = sizeof units / sizeof units[0] };
    char *end = NULL;
    double value = strtod(text, &end);
    size_t i = 0;
    while (i < N_UNITS && strcmp(end, units[i].name) != 0) {
        i++;
    }
    if (!isdigit((unsigned char)*text) || !isfinite(value) || i == N_UNITS) {
        argp_error(state, "%s: '%s' is not a number of bytes, such as 512MiB", option, text);
        return 0;
    }
    if (value * (double)units[i].n_bytes > 1e18) {
        argp_error(state, "%s: %s is more than any memory", option, text);
        return 0;
    }
    return (int64_t)(value * (double)units[i].n_bytes);
}

bool cli_find_mode(const char *name, hsd_mode *out)
{
    for (hsd_mode mode = HSD_MODE_AUTO; mode <= HSD_MODE_ASYNC; mode++) {
        if (strcmp(name, hsd_mode_name(mode)) == 0) {
            *out = mode;
            return true;
        }
    }
    return false;
}

bool cli_find_draft_kind(const char *name, hsd_draft_kind *out)
{
    for (hsd_draft_kind kind = HSD_DRAFT_AUTO; kind <= HSD_DRAFT_EARLY_EXIT; kind++) {
        if (strcmp(name, hsd_draft_kind_name(kind)) == 0) {
            *out = kind;
            return true;
        }
    }
    return false;
}

hsd_cache_layout cli_parse_cache_layout(const struct argp_state *state, const char *option,
                                        const char *arg)
{
    for (int i = 0; i < HSD_N_CACHE_LAYOUTS; i++) {
        if (strcmp(arg, hsd_cache_layout_name((hsd_cache_layout)i)) == 0) {
            return (hsd_cache_layout)i;
        }
    }
    argp_error(state, "%s: '%s' is none of auto, kv, el", option, arg);
    return HSD_CACHE_LAYOUT_AUTO;
}

hsd_cache_type cli_parse_cache_type(const struct argp_state *state, const char *option,
                                    const char *arg)
{
    for (int i = 0; i < HSD_N_CACHE_TYPES; i++) {
        if (strcmp(arg, hsd_cache_type_name((hsd_cache_type)i)) == 0) {
            return (hsd_cache_type)i;
        }
    }
    argp_error(state, "%s: '%s' is none of f32, f16, q8_0", option, arg);
    return HSD_CACHE_F32;
}

hsd_mode cli_parse_mode(const struct argp_state *state, const char *option, const char *text)
{
    hsd_mode mode = HSD_MODE_AUTO;
    if (!cli_find_mode(text, &mode)) {
        argp_error(state, "%s: '%s' is none of " CLI_MODE_NAMES, option, text);
    }
    return mode;
}

hsd_draft_kind cli_parse_draft_kind(const struct argp_state *state, const char *option,
                                    const char *text)
{
    hsd_draft_kind kind = HSD_DRAFT_AUTO;
    if (!cli_find_draft_kind(text, &kind)) {
        argp_error(state, "%s: '%s' is none of " CLI_DRAFT_KIND_NAMES, option, text);
    }
    return kind;
}

int cli_parse_ints(const struct argp_state *state, const char *option, const char *text, int min,
                   int max, int *out, int cap)
{
    char *copy = strdup(text);
    if (!copy) {
        argp_failure(state, CLI_FAILURE, errno, "%s", option);
        return 0;
    }
    int n = 0;
    char *rest = copy;
    for (char *item = strsep(&rest, ","); item; item = strsep(&rest, ",")) {
        if (n == cap) {
            argp_error(state, "%s: more than %d numbers", option, cap);
            break;
        }
        out[n++] = (int)cli_parse_int(state, option, item, min, max);
    }
    free(copy);
    return n;
}
