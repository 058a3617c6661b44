/// `hsd batch`: a line of the input to an item, an item to a line of the results.
#include "cli/batch.h"

#include "cli/setting.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/// Copy what fits, cut before a character of which a part does not fit.
static void copy_text(char *out, size_t size, const char *text)
{
    size_t n = strlen(text);
    if (n >= size) {
        n = size - 1;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80) {
            n--;
        }
    }
    memcpy(out, text, n);
    out[n] = '\0';
}

void batch_item_fail(batch_item *item, const char *field, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    item->failed = true;
    copy_text(item->field, sizeof item->field, field);
    vsnprintf(item->why, sizeof item->why, fmt, args);
    va_end(args);
}

/// Everything but the prompt: `id` and the settings that the line overrides.
static void take_field(const char *name, json_t *value, batch_item *item)
{
    char why[BATCH_WHY_BYTES];
    const cli_setting *setting = cli_setting_by_name(name);
    if (strcmp(name, "id") == 0) {
        if (json_is_string(value) || json_is_integer(value)) {
            item->id = json_incref(value);
        } else {
            batch_item_fail(item, name, "it is neither a text nor a whole number");
        }
    } else if (!setting) {
        batch_item_fail(item, name,
                        "there is no such field: a line has prompt, id and settings of a session");
    } else if (!cli_setting_from_json(setting, value, &item->how, why, sizeof why)) {
        batch_item_fail(item, name, "%s", why);
    }
}

/// False when memory is short.
static bool take_prompt(const batch *b, const json_t *prompt, batch_item *item)
{
    hsd_error err = cli_no_error();
    if (!json_is_string(prompt)) {
        batch_item_fail(item, "prompt", prompt ? "it is not a text" : "it is missing");
        return true;
    }
    hsd_status status =
        hsd_engine_tokenize(b->engine, json_string_value(prompt), json_string_length(prompt), true,
                            item->prompt, b->n_ctx, &item->n_prompt, &err);
    if (status == HSD_ETOOLONG || (status == HSD_OK && item->n_prompt >= b->n_ctx)) {
        batch_item_fail(item, "prompt", "%d tokens leave no room in a context of %d",
                        item->n_prompt, b->n_ctx);
    } else if (status != HSD_OK && status != HSD_ENOMEM) {
        batch_item_fail(item, "prompt", "%s",
                        err.message[0] ? err.message : hsd_status_message(status));
    }
    return status != HSD_ENOMEM;
}

/// False when memory is short.
static bool take_object(const batch *b, json_t *object, batch_item *item)
{
    const char *name;
    json_t *value;
    json_t *prompt = NULL;
    json_object_foreach(object, name, value)
    {
        if (strcmp(name, "prompt") == 0) {
            prompt = value;
        } else if (!item->failed || strcmp(name, "id") == 0) {
            take_field(name, value, item); // a failed line keeps its id
        }
    }
    return item->failed || take_prompt(b, prompt, item);
}

bool batch_item_read(const batch *b, const cli_line *line, batch_item *item)
{
    json_error_t error;
    json_decref(item->id);
    item->id = NULL;
    item->line = line->number;
    item->hash = line->hash;
    item->how = b->g.session;
    item->failed = item->dropped = false;
    item->n_prompt = 0;
    cli_output_clear(&item->output);
    if (line->too_long) {
        batch_item_fail(item, "", "it is longer than %d MiB", BATCH_LINE_MAX_BYTES >> 20);
        return true;
    }
    json_t *object = json_loadb(line->bytes, line->n_bytes,
                                JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &error);
    bool ok = true;
    if (!object && json_error_code(&error) == json_error_out_of_memory) {
        ok = false;
    } else if (!object) {
        batch_item_fail(item, "", "it is not JSON: %s, byte %d", error.text, error.position);
    } else if (!json_is_object(object)) {
        batch_item_fail(item, "", "it is not a JSON object");
    } else {
        ok = take_object(b, object, item);
    }
    json_decref(object);
    return ok;
}

/// Why the generation ended.
static const char *finish_of(const batch *b, const batch_item *item)
{
    size_t n = item->output.n_tokens;
    size_t limit = (size_t)item->how.n_tokens;
    if (!item->how.ignore_eos && n > 0 && item->output.tokens[n - 1] == b->eos) {
        return "stop";
    }
    if (limit > 0 && n >= limit) {
        return "length";
    }
    return (size_t)item->n_prompt + n >= (size_t)b->n_ctx ? "context" : "stop";
}

static json_t *json_hash(uint64_t hash)
{
    return json_sprintf("%016" PRIx64, hash);
}

/// jansson takes UTF-8 only; what it says about a broken text may have a part of a character.
static json_t *json_why(const batch_item *item)
{
    json_t *why = json_string(item->why);
    return why ? why : json_string("it is not JSON");
}

static json_t *json_error_of(const batch_item *item)
{
    json_t *field = item->field[0] ? json_string(item->field) : json_null();
    return json_pack("{s:I, s:o, s:o}", "line", (json_int_t)item->line, "field", field, "message",
                     json_why(item));
}

bool batch_item_render(const batch *b, batch_item *item)
{
    json_t *object = json_pack("{s:I, s:O*}", "index", (json_int_t)item->index, "id", item->id);
    int failed = object ? 0 : 1;
    if (item->failed) {
        failed |= json_object_set_new(object, "error", json_error_of(item));
    } else {
        failed |= json_object_set_new(object, "prompt_tokens",
                                      cli_json_tokens(item->prompt, (size_t)item->n_prompt));
        failed |= json_object_set_new(object, "tokens",
                                      cli_json_tokens(item->output.tokens, item->output.n_tokens));
        failed |= json_object_set_new(object, "text", cli_json_output_text(&item->output));
        failed |= json_object_set_new(object, "finish", json_string(finish_of(b, item)));
        failed |=
            b->no_stats ? 0 : json_object_set_new(object, "stats", cli_json_stats(&item->stats));
    }
    failed |= json_object_set_new(object, "hash", json_hash(item->hash));
    failed |= json_object_set_new(object, "settings", json_hash(b->settings));
    if (failed) {
        json_decref(object);
        return false;
    }
    free(item->result);
    item->result = cli_json_text(object);
    return item->result != NULL;
}

void batch_item_fini(batch_item *item)
{
    json_decref(item->id);
    free(item->prompt);
    cli_output_fini(&item->output);
    free(item->result);
    *item = (batch_item){0};
}
