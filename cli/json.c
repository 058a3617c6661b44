/// Tokens and statistics as JSON.
#include "cli/cli.h"

#include <math.h>

/// JSON has no NaN and no infinity.
static double number_of(double x)
{
    return isfinite(x) ? x : 0;
}

json_t *cli_json_tokens(const int32_t *tokens, size_t n_tokens)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < n_tokens; i++) {
        if (json_array_append_new(array, json_integer(tokens[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

json_t *cli_json_output_text(const cli_output *out)
{
    return json_stringn(out->text ? out->text : "", out->n_text);
}

json_t *cli_json_stats(const hsd_stats *stats)
{
    double per_step = stats->steps > 0 ? (double)stats->n_tokens / (double)stats->steps : 0;
    return json_pack(
        "{s:s, s:s, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
        " s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f}",
        "mode", hsd_mode_name(stats->mode), "draft_kind", hsd_draft_kind_name(stats->draft_kind),
        "prompt_tokens_reused", stats->n_prompt_reused, "n_tokens", stats->n_tokens, "steps",
        (json_int_t)stats->steps, "drafted", (json_int_t)stats->drafted, "accepted",
        (json_int_t)stats->accepted, "hits", (json_int_t)stats->hits, "misses",
        (json_int_t)stats->misses, "own_hits", (json_int_t)stats->own_hits, "proxy_hits",
        (json_int_t)stats->proxy_hits, "carried", (json_int_t)stats->carried, "paused",
        (json_int_t)stats->paused, "late", (json_int_t)stats->late, "workers_lost",
        (json_int_t)stats->workers_lost, "replans", (json_int_t)stats->replans, "prefill_s",
        number_of(stats->prefill_s), "decode_s", number_of(stats->decode_s), "tokens_per_s",
        number_of(stats->tokens_per_s), "wait_s", number_of(stats->wait_s), "step_overhead_us",
        number_of(stats->step_overhead_s * 1e6), "cache_bytes", (json_int_t)stats->cache_bytes,
        "cache_token_bytes", (json_int_t)stats->cache_token_bytes, "el_layers", stats->n_el_layers,
        "window", stats->window, "tree", stats->tree, "roots", stats->roots, "exit_layer",
        stats->exit_layer, "threads", stats->n_threads, "draft_threads", stats->n_draft_threads,
        "tokens_per_step", per_step);
}
