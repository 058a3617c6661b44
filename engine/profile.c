/// Profiles behind the public API: what there is to measure, in pieces, and where results are kept.
#include "engine/profile.h"

#include "base/error.h"
#include "devices/keep.h"
#include "engine/machine.h"
#include "topology/discover.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SECONDS = 60, QUICK_SECONDS = 12 };

struct hsd_profile {
    hsdi_profile p;
};

void hsd_profile_options_init(hsd_profile_options *options)
{
    *options = (hsd_profile_options){0};
}

static hsd_status fail_options(hsd_error *err)
{
    return hsdi_fail(err, HSD_EINVAL, "profile", "options, a profile and a result are required");
}

/* What there is. */

static bool has_draft(const hsd_profile_options *o)
{
    return o->draft_path || !o->target_path;
}

static hsd_status shape_of(const hsd_profile_options *o, hsdi_cost_role role, hsdi_cost_model *out,
                           hsd_error *err)
{
    char *path = malloc(HSDI_PATH_MAX);
    hsdi_model *model = NULL;
    hsd_status status = path ? hsdi_profile_path(o, role, path, err)
                             : hsdi_fail(err, HSD_ENOMEM, "profile", "path");
    if (status == HSD_OK) {
        status = hsdi_model_load(path, &model, err);
    }
    if (status == HSD_OK) {
        *out = hsdi_cost_model_of(model);
    }
    hsdi_model_free(&model);
    free(path);
    return status;
}

static int add_device(hsdi_profile *p, const char *name, const char *id)
{
    for (int i = 0; i < p->n_devices; i++) {
        if (strcmp(p->devices[i].id, id) == 0) {
            return i;
        }
    }
    if (p->n_devices == HSDI_PROFILE_DEVICES) {
        return -1;
    }
    hsdi_profile_device *d = &p->devices[p->n_devices];
    snprintf(d->name, sizeof d->name, "%.63s", name);
    snprintf(d->id, sizeof d->id, "%s", id);
    return p->n_devices++;
}

static hsd_status read_machine(const hsd_profile_options *o, hsd_machine **out, hsd_error *err)
{
    return o->topology_path ? hsd_machine_read(o->topology_path, out, err)
                            : hsdi_machine_discover(o->skip, out, err);
}

uint64_t hsdi_profile_machine(void)
{
    hsd_machine *here = NULL;
    uint64_t fingerprint = 0;
    if (hsd_machine_discover(&here, NULL) == HSD_OK) {
        fingerprint = here->m.fingerprint;
    }
    hsd_machine_free(&here);
    return fingerprint;
}

/// Devices that an engine on this host opens. Sets of processors are measured when they are named,
/// and so is hardware under a second driver.
static bool is_of_its_own(const hsdi_machine *m, const hsdi_machine_device *d)
{
    return m->hosts[d->i_host].is_here && d->id[0] && !d->unusable[0] && !d->is_forbidden &&
           d->i_same_as < 0 && strncmp(d->id, "cpu:", 4) != 0;
}

/// A device by what an engine or the machine calls it; NULL: the machine has none such.
static const hsdi_machine_device *find_named(const hsdi_machine *m, const char *name)
{
    for (int i = 0; i < m->n_devices; i++) {
        const hsdi_machine_device *d = &m->devices[i];
        if (m->hosts[d->i_host].is_here && d->id[0] &&
            (strcmp(d->id, name) == 0 || strcmp(d->name, name) == 0)) {
            return d;
        }
    }
    return NULL;
}

static hsd_status name_devices(const hsdi_machine *m, const char *const *names, int n,
                               hsdi_profile *p, hsd_error *err)
{
    hsdi_place *place = malloc(sizeof *place);
    hsd_status status = place ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "profile", "place");
    for (int i = 0; i < n && status == HSD_OK; i++) {
        const hsdi_machine_device *d = find_named(m, names[i]);
        const char *id = d ? d->id : names[i];
        status = hsdi_place_parse(id, "device", place, err);
        if (status == HSD_OK &&
            (strlen(id) >= HSDI_MACHINE_ID || (!d && strlen(id) >= HSDI_MACHINE_NAME) ||
             add_device(p, d ? d->name : id, id) < 0)) {
            status = hsdi_fail(err, HSD_EINVAL, "device", "too many, or too long a name");
        }
    }
    free(place);
    return status;
}

/// Names of a role's devices; *n 0: all that there are.
static const char *const *names_of(const hsd_profile_options *o, hsdi_cost_role role, int *n)
{
    static const char *const cpu[] = {"cpu"};
    if (role == HSDI_COST_DRAFT && o->n_draft_devices > 0) {
        *n = o->n_draft_devices;
        return o->draft_devices;
    }
    bool is_default = o->n_devices == 0 && o->n_draft_devices > 0;
    *n = is_default ? 1 : o->n_devices;
    return is_default ? cpu : o->devices;
}

static hsd_status find_devices(const hsd_profile_options *o, hsdi_profile *p, hsd_error *err)
{
    hsd_machine *machine = NULL;
    hsd_status status = read_machine(o, &machine, err);
    if (status != HSD_OK) {
        return status;
    }
    const hsdi_machine *m = &machine->m;
    bool is_all = o->n_devices == 0 && o->n_draft_devices == 0;
    p->machine = m->fingerprint;
    memcpy(p->machine_name, m->name, sizeof p->machine_name);
    for (int i = 0; i < m->n_devices && is_all; i++) {
        if (is_of_its_own(m, &m->devices[i])) {
            (void)add_device(p, m->devices[i].name, m->devices[i].id);
        }
    }
    for (int role = HSDI_COST_TARGET; role <= HSDI_COST_DRAFT && status == HSD_OK; role++) {
        int n_names;
        const char *const *named = names_of(o, (hsdi_cost_role)role, &n_names);
        status = name_devices(m, named, n_names, p, err);
    }
    hsd_machine_free(&machine);
    return status;
}

static hsd_status check_options(const hsd_profile_options *o, hsd_error *err)
{
    if (o->n_devices < 0 || o->n_draft_devices < 0 || o->n_threads < 0 || o->n_prompts < 0 ||
        o->n_tokens < 0 || o->skip < 0 || !(o->seconds >= 0.0 && o->seconds < 1e6)) {
        return hsdi_fail(err, HSD_EINVAL, "profile", "a number is negative");
    }
    for (int i = 0; i < o->n_threads; i++) {
        if (o->threads[i] < 1 || o->threads[i] > HSDI_CORES_MAX ||
            (i > 0 && o->threads[i] <= o->threads[i - 1])) {
            return hsdi_fail(err, HSD_EINVAL, "threads", "counts must ascend, from 1 to %d",
                             (int)HSDI_CORES_MAX);
        }
    }
    return HSD_OK;
}

hsd_status hsd_profile_begin(const hsd_profile_options *options, hsd_profile **out, hsd_error *err)
{
    if (!options || !out) {
        return fail_options(err);
    }
    *out = NULL;
    hsd_status status = check_options(options, err);
    hsd_profile *profile = calloc(1, sizeof *profile);
    if (!profile) {
        status = hsdi_fail(err, HSD_ENOMEM, "profile", "no memory");
    }
    if (status == HSD_OK) {
        status = shape_of(options, HSDI_COST_TARGET, &profile->p.costs.target, err);
    }
    if (status == HSD_OK && has_draft(options)) {
        status = shape_of(options, HSDI_COST_DRAFT, &profile->p.costs.draft, err);
    }
    if (status == HSD_OK) {
        status = find_devices(options, &profile->p, err);
    }
    if (status != HSD_OK) {
        hsd_profile_free(&profile);
        return status;
    }
    time_t now = time(NULL);
    struct tm utc;
    (void)gmtime_r(&now, &utc);
    strftime(profile->p.made, sizeof profile->p.made, "%Y-%m-%dT%H:%M:%SZ", &utc);
    strcpy(profile->p.layout, "kv-f32");
    *out = profile;
    return HSD_OK;
}

/* Pieces: messages, acceptance, the target's devices, the draft's devices, their pairs. */

typedef enum piece_kind { MESSAGES, ACCEPTANCE, PASSES, BESIDE } piece_kind;

typedef struct piece {
    piece_kind kind;
    hsdi_cost_role role;   ///< PASSES
    int i_target, i_draft; ///< devices; -1: none
} piece;

/// Devices of a role. Shapes: out [HSDI_PROFILE_DEVICES]. Returns their number.
static int devices_of(const hsd_profile_options *o, const hsdi_profile *p, hsdi_cost_role role,
                      int *out)
{
    int n_names, n = 0;
    const char *const *names = names_of(o, role, &n_names);
    for (int i = 0; i < p->n_devices; i++) {
        bool is_named = n_names == 0;
        for (int k = 0; k < n_names && !is_named; k++) {
            is_named = strcmp(names[k], p->devices[i].id) == 0 ||
                       strcmp(names[k], p->devices[i].name) == 0;
        }
        if (is_named) {
            out[n++] = i;
        }
    }
    return role == HSDI_COST_DRAFT && !has_draft(o) ? 0 : n;
}

/// Piece i; the number of all pieces comes back.
static int find_piece(const hsd_profile_options *o, const hsdi_profile *p, int i_piece, piece *out)
{
    int targets[HSDI_PROFILE_DEVICES], drafts[HSDI_PROFILE_DEVICES];
    int n_targets = devices_of(o, p, HSDI_COST_TARGET, targets);
    int n_drafts = devices_of(o, p, HSDI_COST_DRAFT, drafts);
    int at = i_piece - 2, n = 2 + n_targets + n_drafts + n_targets * n_drafts;
    *out = (piece){.kind = i_piece == 0 ? MESSAGES : ACCEPTANCE, .i_target = -1, .i_draft = -1};
    if (at >= 0 && at < n_targets) {
        *out = (piece){PASSES, HSDI_COST_TARGET, targets[at], -1};
    } else if ((at -= n_targets) >= 0 && at < n_drafts) {
        *out = (piece){PASSES, HSDI_COST_DRAFT, -1, drafts[at]};
    } else if ((at -= n_drafts) >= 0 && at < n_targets * n_drafts) {
        *out = (piece){BESIDE, HSDI_COST_TARGET, targets[at / n_drafts], drafts[at % n_drafts]};
    }
    return n;
}

int hsd_profile_n_pieces(const hsd_profile_options *options, const hsd_profile *profile)
{
    piece ignored;
    return find_piece(options, &profile->p, 0, &ignored);
}

void hsd_profile_piece_name(const hsd_profile_options *options, const hsd_profile *profile,
                            int i_piece, char *out, size_t cap)
{
    piece it;
    (void)find_piece(options, &profile->p, i_piece, &it);
    const char *target = it.i_target >= 0 ? profile->p.devices[it.i_target].name : "";
    const char *draft = it.i_draft >= 0 ? profile->p.devices[it.i_draft].name : "";
    if (it.kind == BESIDE) {
        snprintf(out, cap, "target on %s beside draft on %s", target, draft);
    } else if (it.kind == PASSES) {
        bool is_target = it.role == HSDI_COST_TARGET;
        snprintf(out, cap, "%s on %s", is_target ? "target" : "draft", is_target ? target : draft);
    } else {
        snprintf(out, cap, "%s", it.kind == MESSAGES ? "messages" : "acceptance");
    }
}

bool hsd_profile_piece_is_open(const hsd_profile_options *options, const hsd_profile *profile,
                               int i_piece)
{
    piece it;
    (void)find_piece(options, &profile->p, i_piece, &it);
    return (it.i_target < 0 || !profile->p.devices[it.i_target].failure[0]) &&
           (it.i_draft < 0 || !profile->p.devices[it.i_draft].failure[0]);
}

/// The devices of `p` that a piece is about, without what is known of them.
static hsd_profile *blank_of(const hsdi_profile *p)
{
    hsd_profile *blank = calloc(1, sizeof *blank);
    for (int i = 0; blank && i < p->n_devices; i++) {
        memcpy(blank->p.devices[i].name, p->devices[i].name, sizeof p->devices[i].name);
        memcpy(blank->p.devices[i].id, p->devices[i].id, sizeof p->devices[i].id);
        blank->p.n_devices++;
    }
    if (blank) {
        blank->p.machine = p->machine;
        memcpy(blank->p.layout, p->layout, sizeof p->layout);
    }
    return blank;
}

/// On the first of the devices that were named, by its id.
static hsd_status measure_acceptance(const hsd_profile_options *o, const hsdi_profile *p,
                                     double seconds, hsdi_profile *out, hsd_error *err)
{
    int targets[HSDI_PROFILE_DEVICES], drafts[HSDI_PROFILE_DEVICES];
    hsd_profile_options first = *o;
    const char *target =
        devices_of(o, p, HSDI_COST_TARGET, targets) > 0 ? p->devices[targets[0]].id : NULL;
    const char *draft =
        devices_of(o, p, HSDI_COST_DRAFT, drafts) > 0 ? p->devices[drafts[0]].id : NULL;
    if (o->n_devices > 0 && target) {
        first.devices = &target;
        first.n_devices = 1;
    }
    if (o->n_draft_devices > 0 && draft) {
        first.draft_devices = &draft;
        first.n_draft_devices = 1;
    }
    return hsdi_profile_acceptance(&first, seconds, out, err);
}

hsd_status hsd_profile_measure(const hsd_profile_options *options, const hsd_profile *profile,
                               int i_piece, hsd_profile **out, hsd_error *err)
{
    piece it;
    if (!options || !profile || !out || i_piece < 0 ||
        i_piece >= find_piece(options, &profile->p, i_piece, &it)) {
        return fail_options(err);
    }
    double all = options->seconds > 0.0 ? options->seconds
                 : options->quick       ? QUICK_SECONDS
                                        : SECONDS;
    double seconds = all / hsd_profile_n_pieces(options, profile);
    hsd_profile *made = blank_of(&profile->p);
    *out = NULL;
    if (!made) {
        return hsdi_fail(err, HSD_ENOMEM, "profile", "no memory");
    }
    const hsdi_profile_device *d = profile->p.devices;
    hsd_status status =
        it.kind == MESSAGES     ? hsdi_profile_messages(options, &made->p, err)
        : it.kind == ACCEPTANCE ? measure_acceptance(options, &profile->p, seconds, &made->p, err)
        : it.kind == BESIDE
            ? hsdi_profile_beside(options, d[it.i_target].id, it.i_target, d[it.i_draft].id,
                                  it.i_draft, seconds, &made->p, err)
        : it.role == HSDI_COST_TARGET ? hsdi_profile_passes(options, d[it.i_target].id, it.role,
                                                            it.i_target, seconds, &made->p, err)
                                      : hsdi_profile_passes(options, d[it.i_draft].id, it.role,
                                                            it.i_draft, seconds, &made->p, err);
    if (status != HSD_OK) {
        hsd_profile_free(&made);
        return status;
    }
    *out = made;
    return HSD_OK;
}

hsd_status hsd_profile_join(hsd_profile *into, const hsd_profile *from, hsd_error *err)
{
    return into && from ? hsdi_profile_merge(&into->p, &from->p, err) : fail_options(err);
}

void hsd_profile_fail(const hsd_profile_options *options, hsd_profile *profile, int i_piece,
                      const char *why)
{
    piece it;
    char name[160];
    (void)find_piece(options, &profile->p, i_piece, &it);
    hsd_profile_piece_name(options, profile, i_piece, name, sizeof name);
    const int devices[] = {it.i_target, it.i_draft};
    bool blames_all = it.kind == PASSES;
    for (int i = 0; i < 2; i++) {
        hsdi_profile_device *d = devices[i] >= 0 ? &profile->p.devices[devices[i]] : NULL;
        // Of a pair the one with a driver; the CPU has none that could fail.
        if (d && !d->failure[0] && (blames_all || strncmp(d->id, "cpu", 3) != 0)) {
            snprintf(d->failure, sizeof d->failure, "%.80s: %.110s", name, why);
            hsdi_machine_make_text(d->failure);
        }
    }
}

/* Text and files. */

hsd_status hsd_profile_parse(const char *text, size_t n_bytes, const char *name, hsd_profile **out,
                             hsd_error *err)
{
    if (!text || !name || !out) {
        return fail_options(err);
    }
    // hsd_profile holds nothing but the other.
    _Static_assert(sizeof(hsd_profile) == sizeof(hsdi_profile), "one and the same");
    hsdi_profile *p = NULL;
    hsd_status status = hsdi_profile_parse(text, n_bytes, name, &p, err);
    *out = (hsd_profile *)(void *)p;
    return status;
}

hsd_status hsd_profile_print(const hsd_profile *profile, hsd_profile_format format, char **text,
                             size_t *n_bytes, hsd_error *err)
{
    if (!profile || !text || !n_bytes) {
        return fail_options(err);
    }
    switch (format) {
    case HSD_PROFILE_TABLE:
        return hsdi_profile_table(&profile->p, text, n_bytes, err);
    case HSD_PROFILE_JSON:
        return hsdi_profile_json(&profile->p, text, n_bytes, err);
    case HSD_PROFILE_YAML:
        return hsdi_profile_print(&profile->p, text, n_bytes, err);
    }
    return hsdi_fail(err, HSD_EINVAL, "format", "%d is no format", (int)format);
}

hsd_status hsd_profile_write(const hsd_profile *profile, const char *path, hsd_error *err)
{
    char *text = NULL;
    size_t n = 0;
    if (!profile || !path) {
        return fail_options(err);
    }
    hsd_status status = hsdi_profile_print(&profile->p, &text, &n, err);
    FILE *file = status == HSD_OK ? fopen(path, "we") : NULL;
    if (status == HSD_OK) {
        errno = 0;
        bool is_whole = file && fwrite(text, 1, n, file) == n && fflush(file) == 0;
        int code = errno ? errno : EIO;
        if (file && fclose(file) != 0) {
            code = is_whole ? errno : code;
            is_whole = false;
        }
        if (!is_whole) {
            status = hsdi_fail_errno(err, HSD_EIO, path, code, "the profile cannot be written");
        }
    }
    free(text);
    return status;
}

static void make_key(uint64_t machine, uint64_t target, uint64_t draft, char out[64])
{
    snprintf(out, 64, "%016llx-%016llx-%016llx", (unsigned long long)machine,
             (unsigned long long)target, (unsigned long long)draft);
}

static hsd_status keep_as(const hsdi_profile *p, uint64_t machine, hsd_error *err)
{
    char key[64], *text = NULL;
    size_t n = 0;
    make_key(machine, p->costs.target.fingerprint,
             p->costs.draft.n_layers > 0 ? p->costs.draft.fingerprint : 0, key);
    hsd_status status = hsdi_profile_print(p, &text, &n, err);
    if (status == HSD_OK) {
        status = hsdi_keep_write("profile", key, text, n, err);
    }
    free(text);
    return status;
}

hsd_status hsdi_profile_keep(const hsdi_profile *p, hsd_error *err)
{
    return keep_as(p, p->machine, err);
}

bool hsdi_profile_recall(uint64_t machine, uint64_t target, uint64_t draft, hsdi_profile **out)
{
    char key[64];
    void *text = NULL;
    size_t n = 0;
    make_key(machine, target, draft, key);
    *out = NULL;
    bool is_there = hsdi_keep_read("profile", key, &text, &n) &&
                    hsdi_profile_parse(text, n, "the kept profile", out, NULL) == HSD_OK;
    free(text);
    return is_there;
}

hsd_status hsd_profile_keep(const hsd_profile *profile, hsd_error *err)
{
    if (!profile) {
        return fail_options(err);
    }
    // Once more for who needs no drivers, and should not load them to ask what machine this is.
    hsd_status status = hsdi_profile_keep(&profile->p, err);
    return status == HSD_OK ? keep_as(&profile->p, hsdi_discover_fingerprint(), err) : status;
}

int hsd_profile_n_passes(const hsd_profile *profile)
{
    return profile->p.n_passes;
}

void hsd_profile_get_pass(const hsd_profile *profile, int i, hsd_profile_pass *out)
{
    static const char *const parts[] = {"prefix", "exit head", "suffix", "whole", "rollout"};
    const hsdi_profile_pass *pass = &profile->p.passes[i];
    *out = (hsd_profile_pass){.role = pass->role == HSDI_COST_TARGET ? "target" : "draft",
                              .part = parts[pass->part],
                              .device = profile->p.devices[pass->i_device].name,
                              .n_threads = pass->n_threads,
                              .n_layers = pass->n_layers,
                              .n_rows = pass->n_rows,
                              .n_past = pass->n_past,
                              .n_times = pass->n_times,
                              .median_us = pass->median_ns * 1e-3,
                              .low_us = pass->low_ns * 1e-3,
                              .high_us = pass->high_ns * 1e-3};
}

void hsd_profile_free(hsd_profile **profile)
{
    if (profile) {
        free(*profile);
        *profile = NULL;
    }
}
