/// A tree by libyaml, compared with a schema of libcyaml, then loaded by libcyaml.
#include "topology/yaml.h"

#include "base/error.h"
#include "base/numbers.h"
#include "topology/machine.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_CHARS = 128, MAX_DEPTH = 16 };

static hsd_status fail_at_mark(const hsdi_yaml *y, yaml_mark_t mark, const char *path,
                               hsd_error *err, const char *fmt, va_list args)
{
    char text[sizeof err->message];
    vsnprintf(text, sizeof text, fmt, args);
    hsdi_machine_make_text(text);
    hsd_status status =
        hsdi_fail(err, HSD_EFORMAT, y->file, "%s%s%s", path, path[0] ? ": " : "", text);
    if (err) {
        err->line = (int64_t)mark.line + 1;
        err->column = (int64_t)mark.column + 1;
    }
    return status;
}

static hsd_status fail_mark(const hsdi_yaml *y, yaml_mark_t mark, const char *path, hsd_error *err,
                            const char *fmt, ...) __attribute__((format(printf, 5, 6)));

static hsd_status fail_mark(const hsdi_yaml *y, yaml_mark_t mark, const char *path, hsd_error *err,
                            const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    hsd_status status = fail_at_mark(y, mark, path, err, fmt, args);
    va_end(args);
    return status;
}

static yaml_node_t *node_of(const hsdi_yaml *y, int id)
{
    return yaml_document_get_node((yaml_document_t *)&y->document, id);
}

static bool is_key(const yaml_node_t *node, const char *key, size_t n_key)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.length == n_key &&
           memcmp(node->data.scalar.value, key, n_key) == 0;
}

static yaml_node_t *find_value(const hsdi_yaml *y, const yaml_node_t *mapping, const char *key,
                               size_t n_key)
{
    if (mapping->type == YAML_MAPPING_NODE) {
        for (yaml_node_pair_t *p = mapping->data.mapping.pairs.start;
             p < mapping->data.mapping.pairs.top; p++) {
            if (is_key(node_of(y, p->key), key, n_key)) {
                return node_of(y, p->value);
            }
        }
    }
    return NULL;
}

static yaml_node_t *find_entry(const hsdi_yaml *y, const yaml_node_t *sequence, long i)
{
    if (sequence->type != YAML_SEQUENCE_NODE || i < 0 ||
        i >= sequence->data.sequence.items.top - sequence->data.sequence.items.start) {
        return NULL;
    }
    return node_of(y, sequence->data.sequence.items.start[i]);
}

hsd_status hsdi_yaml_fail(const hsdi_yaml *yaml, const char *path, hsd_error *err, const char *fmt,
                          ...)
{
    yaml_node_t *node = node_of(yaml, 1), *next = node;
    for (const char *at = path; next && *at;) {
        if (*at == '[') {
            char *end = NULL;
            next = find_entry(yaml, node, strtol(at + 1, &end, 10));
            at = end + (*end == ']');
        } else {
            at += *at == '.';
            size_t n = strcspn(at, ".[");
            next = find_value(yaml, node, at, n);
            at += n;
        }
        node = next ? next : node;
    }
    va_list args;
    va_start(args, fmt);
    hsd_status status = fail_at_mark(yaml, node->start_mark, path, err, fmt, args);
    va_end(args);
    return status;
}

// ---- the tree against the schema ----

typedef struct checker {
    const hsdi_yaml *yaml;
    uint8_t *seen; ///< [node id]
    hsd_error *err;
} checker;

static hsd_status check_value(checker *c, int id, const cyaml_schema_value_t *schema,
                              const char *path, int depth);

static const char *what_it_is(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE    ? "a single value"
           : node->type == YAML_MAPPING_NODE ? "fields (\"key: value\")"
                                             : "a list";
}

/// The name among those of the schema that is most like `key`, for people who mistyped; NULL: none.
static const char *likely_field(const cyaml_schema_field_t *fields, const char *key)
{
    for (const cyaml_schema_field_t *f = fields; f->key; f++) {
        size_t n = strlen(f->key), same = 0;
        while (same < n && f->key[same] == key[same]) {
            same++;
        }
        if (same >= 3 || (same + 1 >= n && same > 0)) {
            return f->key;
        }
    }
    return NULL;
}

static hsd_status check_key(checker *c, const yaml_node_t *mapping, const yaml_node_pair_t *pair,
                            const cyaml_schema_field_t *fields, const char *path,
                            const cyaml_schema_field_t **field)
{
    const yaml_node_t *key = node_of(c->yaml, pair->key);
    *field = NULL;
    if (key->type != YAML_SCALAR_NODE) {
        return fail_mark(c->yaml, key->start_mark, path, c->err, "a key must be a single word");
    }
    const char *text = (const char *)key->data.scalar.value;
    size_t n = key->data.scalar.length;
    for (const cyaml_schema_field_t *f = fields; f->key; f++) {
        *field = is_key(key, f->key, strlen(f->key)) ? f : *field;
    }
    if (!*field) {
        const char *likely = likely_field(fields, text);
        return fail_mark(
            c->yaml, key->start_mark, path, c->err, "there is no key \"%.40s\" here%s%s%s", text,
            likely ? "; do you mean \"" : "", likely ? likely : "", likely ? "\"?" : "");
    }
    for (const yaml_node_pair_t *p = mapping->data.mapping.pairs.start; p < pair; p++) {
        if (is_key(node_of(c->yaml, p->key), text, n)) {
            return fail_mark(c->yaml, key->start_mark, path, c->err, "\"%s\" stands here twice",
                             text);
        }
    }
    return HSD_OK;
}

static hsd_status check_mapping(checker *c, const yaml_node_t *node,
                                const cyaml_schema_value_t *schema, const char *path, int depth)
{
    const cyaml_schema_field_t *fields = schema->mapping.fields, *field;
    for (const yaml_node_pair_t *p = node->data.mapping.pairs.start;
         p < node->data.mapping.pairs.top; p++) {
        char inner[PATH_CHARS];
        hsd_status status = check_key(c, node, p, fields, path, &field);
        if (status != HSD_OK) {
            return status;
        }
        snprintf(inner, sizeof inner, "%s%s%s", path, path[0] ? "." : "", field->key);
        if ((status = check_value(c, p->value, &field->value, inner, depth)) != HSD_OK) {
            return status;
        }
    }
    for (field = fields; field->key; field++) {
        if (!(field->value.flags & CYAML_FLAG_OPTIONAL) &&
            !find_value(c->yaml, node, field->key, strlen(field->key))) {
            return fail_mark(c->yaml, node->start_mark, path, c->err, "\"%s\" is missing",
                             field->key);
        }
    }
    return HSD_OK;
}

static hsd_status check_sequence(checker *c, const yaml_node_t *node,
                                 const cyaml_schema_value_t *entry, uint32_t min, uint32_t max,
                                 const char *path, int depth)
{
    const yaml_node_item_t *items = node->data.sequence.items.start;
    long n = (long)(node->data.sequence.items.top - items);
    if (n < (long)min) {
        return fail_mark(c->yaml, node->start_mark, path, c->err,
                         "it has %ld entries, at least %u are needed", n, (unsigned)min);
    }
    for (long i = 0; i < n; i++) {
        char inner[PATH_CHARS];
        snprintf(inner, sizeof inner, "%s[%ld]", path, i);
        if (i >= (long)max) {
            return fail_mark(c->yaml, node_of(c->yaml, items[i])->start_mark, inner, c->err,
                             "it has %ld entries, at most %u are allowed", n, (unsigned)max);
        }
        hsd_status status = check_value(c, items[i], entry, inner, depth);
        if (status != HSD_OK) {
            return status;
        }
    }
    return HSD_OK;
}

static bool is_number(const char *text, long max)
{
    size_t n = strspn(text, "0123456789");
    bool digits = n > 0 && !text[n] && (n == 1 || text[0] != '0');
    return digits && n <= 10 && strtoll(text, NULL, 10) <= max;
}

static hsd_status check_enum(checker *c, const yaml_node_t *node,
                             const cyaml_schema_value_t *schema, const char *path)
{
    const char *text = (const char *)node->data.scalar.value;
    char all[160] = "";
    for (uint32_t i = 0; i < schema->enumeration.count; i++) {
        const char *name = schema->enumeration.strings[i].str;
        size_t n = strlen(all);
        if (strcmp(text, name) == 0) {
            return HSD_OK;
        }
        snprintf(all + n, sizeof all - n, "%s%s", i > 0 ? ", " : "", name);
    }
    return fail_mark(c->yaml, node->start_mark, path, c->err, "\"%.40s\" is none of %s", text, all);
}

static hsd_status check_scalar(checker *c, const yaml_node_t *node,
                               const cyaml_schema_value_t *schema, const char *path)
{
    const char *text = (const char *)node->data.scalar.value;
    char *end = NULL;
    hsdi_numbers before;
    if (strlen(text) != node->data.scalar.length || !hsdi_machine_is_text(text)) {
        return fail_mark(c->yaml, node->start_mark, path, c->err,
                         "control characters are not allowed");
    }
    if (!text[0]) {
        return fail_mark(c->yaml, node->start_mark, path, c->err, "it has no value");
    }
    switch (schema->type) {
    case CYAML_INT:
        if (text[0] == '-' && is_number(text + 1, INT_MAX)) {
            return fail_mark(c->yaml, node->start_mark, path, c->err, "%s is negative", text);
        }
        return is_number(text, INT_MAX) ? HSD_OK
                                        : fail_mark(c->yaml, node->start_mark, path, c->err,
                                                    "\"%.40s\" is no whole number", text);
    case CYAML_BOOL:
        return strcmp(text, "true") == 0 || strcmp(text, "false") == 0
                   ? HSD_OK
                   : fail_mark(c->yaml, node->start_mark, path, c->err,
                               "\"%.40s\" is neither true nor false", text);
    case CYAML_FLOAT:
        before = hsdi_numbers_plain();
        (void)strtod(text, &end);
        hsdi_numbers_back(before);
        return !*end && strspn(text, "+-.0123456789eE") == strlen(text)
                   ? HSD_OK
                   : fail_mark(c->yaml, node->start_mark, path, c->err, "\"%.40s\" is no number",
                               text);
    case CYAML_ENUM:
        return check_enum(c, node, schema, path);
    default:
        return HSD_OK;
    }
}

static hsd_status check_flags(checker *c, const yaml_node_t *node,
                              const cyaml_schema_value_t *schema, const char *path, int depth)
{
    const cyaml_schema_value_t one = {.type = CYAML_ENUM, .enumeration = schema->enumeration};
    return check_sequence(c, node, &one, 0, schema->enumeration.count, path, depth);
}

static hsd_status check_value(checker *c, int id, const cyaml_schema_value_t *schema,
                              const char *path, int depth)
{
    const yaml_node_t *node = node_of(c->yaml, id);
    bool wants_list = schema->type == CYAML_SEQUENCE || schema->type == CYAML_FLAGS;
    yaml_node_type_t wanted = schema->type == CYAML_MAPPING ? YAML_MAPPING_NODE
                              : wants_list                  ? YAML_SEQUENCE_NODE
                                                            : YAML_SCALAR_NODE;
    if (c->seen[id]++ > 0 || depth >= MAX_DEPTH) {
        return fail_mark(c->yaml, node->start_mark, path, c->err,
                         "an alias leads here: write the value out instead");
    }
    if (node->type != wanted) {
        return fail_mark(c->yaml, node->start_mark, path, c->err, "this is %s, %s wanted",
                         what_it_is(node),
                         wanted == YAML_MAPPING_NODE    ? "fields are"
                         : wanted == YAML_SEQUENCE_NODE ? "a list is"
                                                        : "a single value is");
    }
    switch (schema->type) {
    case CYAML_MAPPING:
        return check_mapping(c, node, schema, path, depth + 1);
    case CYAML_SEQUENCE:
        return check_sequence(c, node, schema->sequence.entry, schema->sequence.min,
                              schema->sequence.max, path, depth + 1);
    case CYAML_FLAGS:
        return check_flags(c, node, schema, path, depth + 1);
    default:
        return check_scalar(c, node, schema, path);
    }
}

// ---- texts and files ----

/// Where the parser stopped. Bytes that are no UTF-8 have an offset only.
static yaml_mark_t problem_mark(const yaml_parser_t *parser, const char *text, size_t n_bytes)
{
    yaml_mark_t mark = parser->problem_mark;
    if (parser->error == YAML_READER_ERROR) {
        mark = (yaml_mark_t){0};
        for (size_t i = 0; i < parser->problem_offset && i < n_bytes; i++) {
            mark.column = text[i] == '\n' ? 0 : mark.column + ((text[i] & 0xc0) != 0x80);
            mark.line += text[i] == '\n';
        }
    }
    return mark;
}

static hsd_status parse(hsdi_yaml *y, const char *text, size_t n_bytes, hsd_error *err)
{
    static const yaml_mark_t first = {0, 0, 0};
    yaml_parser_t parser;
    yaml_document_t more;
    if (!yaml_parser_initialize(&parser)) {
        return hsdi_fail(err, HSD_ENOMEM, y->file, "parser");
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n_bytes);
    y->is_open = yaml_parser_load(&parser, &y->document);
    bool good = y->is_open;
    hsd_status status = HSD_OK;
    if (good && !yaml_document_get_root_node(&y->document)) {
        status = fail_mark(y, first, "", err, "the file is empty");
    } else if (good && (good = yaml_parser_load(&parser, &more))) {
        yaml_node_t *root = yaml_document_get_root_node(&more);
        if (root) {
            status = fail_mark(y, root->start_mark, "", err, "a second document begins here");
        }
        yaml_document_delete(&more);
    }
    if (!good) {
        status = parser.error == YAML_MEMORY_ERROR
                     ? hsdi_fail(err, HSD_ENOMEM, y->file, "tree")
                     : fail_mark(y, problem_mark(&parser, text, n_bytes), "", err, "%s%s%s",
                                 parser.context ? parser.context : "", parser.context ? ": " : "",
                                 parser.problem ? parser.problem : "this is no YAML");
    }
    yaml_parser_delete(&parser);
    return status;
}

static hsd_status check_tree(const hsdi_yaml *y, const cyaml_schema_value_t *schema, hsd_error *err)
{
    size_t n_nodes = (size_t)(y->document.nodes.top - y->document.nodes.start);
    checker c = {.yaml = y, .seen = calloc(n_nodes + 1, 1), .err = err};
    hsd_status status =
        c.seen ? check_value(&c, 1, schema, "", 0) : hsdi_fail(err, HSD_ENOMEM, y->file, "tree");
    free(c.seen);
    return status;
}

static cyaml_config_t config(void)
{
    return (cyaml_config_t){
        .mem_fn = cyaml_mem, .log_level = CYAML_LOG_ERROR, .flags = CYAML_CFG_NO_ALIAS};
}

hsd_status hsdi_yaml_load(const char *text, size_t n_bytes, const char *file,
                          const cyaml_schema_value_t *schema, hsdi_yaml *out, void **data,
                          hsd_error *err)
{
    *out = (hsdi_yaml){.file = file};
    *data = NULL;
    hsd_status status = parse(out, text, n_bytes, err);
    if (status == HSD_OK) {
        status = check_tree(out, schema, err);
    }
    if (status == HSD_OK) {
        const cyaml_config_t c = config();
        hsdi_numbers before = hsdi_numbers_plain();
        cyaml_err_t code = cyaml_load_data((const uint8_t *)text, n_bytes, &c, schema, data, NULL);
        hsdi_numbers_back(before);
        if (code == CYAML_ERR_OOM) {
            status = hsdi_fail(err, HSD_ENOMEM, file, "data");
        } else if (code != CYAML_OK) {
            status = hsdi_yaml_fail(out, "", err, "%s", cyaml_strerror(code));
        }
    }
    return status;
}

void hsdi_yaml_free(const cyaml_schema_value_t *schema, void *data)
{
    const cyaml_config_t c = config();
    if (data) {
        (void)cyaml_free(&c, schema, data, 0);
    }
}

void hsdi_yaml_close(hsdi_yaml *yaml)
{
    if (yaml->is_open) {
        yaml_document_delete(&yaml->document);
        yaml->is_open = false;
    }
}

hsd_status hsdi_yaml_save(const cyaml_schema_value_t *schema, void *data, char **text,
                          size_t *n_bytes, hsd_error *err)
{
    cyaml_config_t c = config();
    char *made = NULL;
    size_t n = 0;
    c.flags |= CYAML_CFG_STYLE_BLOCK;
    hsdi_numbers before = hsdi_numbers_plain();
    cyaml_err_t code = cyaml_save_data(&made, &n, &c, schema, data, 0);
    hsdi_numbers_back(before);
    *text = code == CYAML_OK ? malloc(n + 1) : NULL;
    if (*text) {
        memcpy(*text, made, n);
        (*text)[n] = '\0';
        *n_bytes = n;
    }
    if (made) {
        cyaml_mem(NULL, made, 0);
    }
    return code != CYAML_OK && code != CYAML_ERR_OOM
               ? hsdi_fail(err, HSD_EINVAL, "yaml", "%s", cyaml_strerror(code))
           : *text ? HSD_OK
                   : hsdi_fail(err, HSD_ENOMEM, "yaml", "text");
}

hsd_status hsdi_yaml_read_file(const char *path, char **text, size_t *n_bytes, hsd_error *err)
{
    FILE *file = fopen(path, "rb");
    *text = NULL;
    if (!file) {
        return hsdi_fail_errno(err, HSD_EIO, path, errno, "cannot be opened");
    }
    char *all = malloc(HSDI_YAML_BYTES + 1);
    size_t n = all ? fread(all, 1, HSDI_YAML_BYTES + 1, file) : 0;
    int code = ferror(file) ? errno : 0;
    fclose(file);
    hsd_status status =
        !all   ? hsdi_fail(err, HSD_ENOMEM, path, "text")
        : code ? hsdi_fail_errno(err, HSD_EIO, path, code, "cannot be read")
        : n > HSDI_YAML_BYTES
            ? hsdi_fail(err, HSD_EFORMAT, path, "it is larger than %d bytes", HSDI_YAML_BYTES)
            : HSD_OK;
    if (status != HSD_OK) {
        free(all);
        return status;
    }
    all[n] = '\0';
    *text = all;
    *n_bytes = n;
    return HSD_OK;
}
