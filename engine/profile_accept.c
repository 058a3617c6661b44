/// What a profile knows of messages and of acceptance.
///
/// Acceptance comes from real generations in mode mirror whose draft completes its branches before
/// it looks at a commit (audited), so that it says little of the machine and much of the models.
#include "base/clock.h"
#include "base/error.h"
#include "engine/profile.h"
#include "pipelines/rendezvous.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW = 8,
    BRIEF_WINDOW = 2,
    N_STEPS = 2000,
    QUICK_STEPS = 500,
    N_ROUNDS = 5,
    TOKENS = 384,
    QUICK_TOKENS = 96,
    TOKENS_LEAST = 32
}; ///< however long they take

static const char *const built_in[] = {
    "Once upon a time there was a little girl who",
    "The old king called his three sons together and said to them:",
    "List three things that a traveller should carry, and say why each of them is useful.",
    "for (int i = 0; i < n; i++) {\n    sum += values[i];",
};

hsd_status hsdi_profile_messages(const hsd_profile_options *options, hsdi_profile *out,
                                 hsd_error *err)
{
    hsdi_cost_rendezvous *r = &out->costs.rendezvous;
    int n = options->quick ? QUICK_STEPS : N_STEPS;
    double serial_ns = 0.0;
    struct {
        const char *transport;
        hsd_mode mode;
        double *ns;
    } cases[] = {{"inproc", HSD_MODE_MIRROR, &r->inproc_ns},
                 {"inproc", HSD_MODE_SERIAL, &serial_ns},
                 {"ipc", HSD_MODE_MIRROR, &r->ipc_ns},
                 {"tcp", HSD_MODE_MIRROR, &r->tcp_ns}};
    hsd_status status = HSD_OK;
    // The least of several medians: other work makes messages slower, never faster.
    for (size_t i = 0; i < N_ROUNDS * (sizeof cases / sizeof *cases) && status == HSD_OK; i++) {
        size_t k = i % (sizeof cases / sizeof *cases);
        hsd_rendezvous_times times = {0};
        status =
            hsdi_rendezvous_measure(cases[k].transport, cases[k].mode, n / N_ROUNDS, &times, err);
        double ns = times.p50_us * 1e3;
        if (status == HSD_OK && (*cases[k].ns <= 0.0 || ns < *cases[k].ns)) {
            *cases[k].ns = ns;
        }
    }
    r->serial_extra_ns = fmax(serial_ns - r->inproc_ns, 0.0);
    return status;
}

/// A calibration run.
typedef struct calibration {
    const hsd_profile_options *options;
    int64_t end_ns; ///< no token is wanted after it
    int n_tokens;   ///< for each prompt
    int window;
    int64_t reached[HSDI_WINDOW_MAX + 1], passed[HSDI_WINDOW_MAX + 1];
    hsd_coverage coverage;
    double n_seen;
    int64_t n_steps;
    int n_got;     ///< tokens so far
    int32_t *text; ///< [n_text_most] the present prompt and what came; NULL: no trail is made
    int n_text, n_text_most;
    char *trail;
} calibration;

static bool on_token(void *user, const hsd_token *token)
{
    calibration *c = user;
    if (c->text && token->id >= 0 && c->n_text < c->n_text_most) {
        c->text[c->n_text++] = token->id;
    }
    return ++c->n_got < TOKENS_LEAST || hsdi_now_ns() < c->end_ns;
}

static void add(int64_t *into, const int64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        into[i] += from[i];
    }
}

static void collect(calibration *c, const hsd_session *session)
{
    int64_t reached[HSDI_WINDOW_MAX + 1], passed[HSDI_WINDOW_MAX + 1];
    hsd_coverage coverage;
    hsd_stats stats;
    hsdi_session_depths(session, reached, passed);
    hsd_session_coverage(session, &coverage);
    hsd_session_stats(session, &stats);
    add(c->reached, reached, HSDI_WINDOW_MAX + 1);
    add(c->passed, passed, HSDI_WINDOW_MAX + 1);
    add(c->coverage.draft, coverage.draft, 65);
    add(c->coverage.both, coverage.both, 65);
    c->n_seen += stats.n_tokens;
    c->n_steps += stats.steps;
}

/// A generation from one prompt, and what the draft says of it.
static hsd_status generate_one(hsd_engine *engine, calibration *c, hsd_session *session,
                               const char *prompt, hsd_error *err)
{
    int n_prompt = 0;
    hsd_status status = HSD_OK;
    if (c->text) {
        status = hsdi_tokenizer_encode(engine->target.tokenizer, prompt, strlen(prompt), true,
                                       false, c->text, c->n_text_most, &n_prompt, err);
        c->n_text = n_prompt;
    }
    if (status == HSD_OK) {
        status = hsd_session_submit(session, prompt, strlen(prompt), err);
    }
    if (status == HSD_OK) {
        status = hsd_session_wait(session, err);
        status = status == HSD_ECANCELED ? HSD_OK : status; // the time was over
    }
    if (status == HSD_OK) {
        collect(c, session);
    }
    return status == HSD_OK && c->text
               ? hsdi_profile_trail(engine, c->text, c->n_text, n_prompt, c->trail, err)
               : status;
}

static hsd_status generate(hsd_engine *engine, calibration *c, hsd_mode mode, hsd_draft_kind kind,
                           hsd_error *err)
{
    hsd_session_options how;
    hsd_session *session = NULL;
    hsd_session_options_init(&how);
    how.mode = mode;
    how.draft_kind = kind;
    how.window = c->window;
    how.roots = HSDI_ROOTS_MAX;
    how.audit_roots = mode == HSD_MODE_MIRROR;
    how.n_tokens = c->n_tokens;
    how.ignore_eos = true;
    how.on_token = on_token;
    how.on_token_user = c;
    const char *const *prompts = c->options->n_prompts > 0 ? c->options->prompts : built_in;
    int n = c->options->n_prompts > 0 ? c->options->n_prompts
                                      : (int)(sizeof built_in / sizeof *built_in);
    hsd_status status = hsd_session_open(engine, &how, &session, err);
    for (int i = 0; i < n && status == HSD_OK; i++) {
        if (c->n_got >= TOKENS_LEAST && hsdi_now_ns() >= c->end_ns) {
            break;
        }
        status = generate_one(engine, c, session, prompts[i], err);
    }
    hsd_session_close(&session);
    return status;
}

static double share(int64_t part, int64_t all)
{
    return all > 0 ? (double)part / (double)all : 0.0;
}

/// Depths that were hardly reached are left out; whoever reads takes the last one for them.
static void put_depths(const calibration *c, hsdi_acceptance *out)
{
    enum { LEAST = 4 };
    for (int d = 1; d <= HSDI_WINDOW_MAX && c->reached[d] >= LEAST; d++) {
        out->accept[d] = share(c->passed[d], c->reached[d]);
    }
}

static void put_coverage(const int64_t ranks[65], double out[HSDI_COST_ROWS])
{
    int64_t all = 0, seen = 0;
    for (int i = 0; i < 65; i++) {
        all += ranks[i];
    }
    for (int i = 0, k = 0; i < 64 && k < HSDI_COST_ROWS; i++) {
        seen += ranks[i];
        if (i + 1 == hsdi_cost_row_counts[k]) {
            out[k++] = share(seen, all);
        }
    }
}

static int tokens_of(const hsd_profile_options *o)
{
    int n_prompts = o->n_prompts > 0 ? o->n_prompts : (int)(sizeof built_in / sizeof *built_in);
    int n = o->n_tokens > 0 ? o->n_tokens : o->quick ? QUICK_TOKENS : TOKENS;
    return n > n_prompts ? n / n_prompts : 1;
}

/// Texts of the target alone, and what the draft says of them.
static hsd_status make_trail(hsd_engine *engine, const hsd_profile_options *options, double seconds,
                             hsdi_acceptance *out, hsd_error *err)
{
    calibration c = {
        .options = options, .n_tokens = tokens_of(options), .window = WINDOW, .trail = out->trail};
    c.end_ns = hsdi_now_ns() + (int64_t)(seconds * 1e9);
    c.n_text_most = engine->n_ctx;
    c.text = calloc((size_t)c.n_text_most, sizeof *c.text);
    hsd_status status = c.text ? generate(engine, &c, HSD_MODE_AR, HSD_DRAFT_AUTO, err)
                               : hsdi_fail(err, HSD_ENOMEM, "profile", "a text");
    free(c.text);
    return status;
}

/// Whose roots the outcomes were, with windows of so many tokens.
static hsd_status audit(hsd_engine *engine, calibration *c, int window, double seconds, double *own,
                        double *both, hsd_error *err)
{
    c->window = window;
    c->end_ns = hsdi_now_ns() + (int64_t)(seconds * 1e9);
    hsd_status status = generate(engine, c, HSD_MODE_MIRROR, HSD_DRAFT_MODEL, err);
    put_coverage(c->coverage.draft, own);
    put_coverage(c->coverage.both, both);
    return status;
}

/// Acceptance by depth, and hits with long and with short windows.
static hsd_status audit_both(hsd_engine *engine, const hsd_profile_options *options, double seconds,
                             hsdi_acceptance *out, hsd_error *err)
{
    calibration c = {.options = options, .n_tokens = tokens_of(options)}, brief = c;
    int n_layers = hsd_engine_n_layers(engine);
    hsd_status status = audit(engine, &c, WINDOW, 0.7 * seconds, out->own, out->both, err);
    put_depths(&c, out);
    out->n_seen = c.n_seen;
    out->window = WINDOW;
    out->exit_part = (double)(n_layers / 2) / n_layers; // where sessions exit by default
    if (status == HSD_OK) {
        status = audit(engine, &brief, BRIEF_WINDOW, 0.3 * seconds, out->brief_own, out->brief_both,
                       err);
        out->brief_window = BRIEF_WINDOW;
    }
    return status;
}

hsd_status hsdi_profile_acceptance(const hsd_profile_options *options, double seconds,
                                   hsdi_profile *out, hsd_error *err)
{
    hsd_engine_options how;
    hsd_engine *engine = NULL;
    hsdi_acceptance *a = &out->costs.acceptance;
    hsd_engine_options_init(&how);
    how.target_path = options->target_path;
    how.draft_path = options->draft_path;
    how.target_device = options->n_devices > 0 ? options->devices[0] : NULL;
    how.draft_device = options->n_draft_devices > 0 ? options->draft_devices[0] : how.target_device;
    how.log = options->log;
    how.log_user = options->log_user;
    hsd_status status = hsd_engine_open(&how, &engine, err);
    if (status == HSD_OK && hsd_engine_has_draft(engine)) {
        status = make_trail(engine, options, 0.4 * seconds, a, err);
    }
    if (status == HSD_OK && hsd_engine_has_draft(engine)) {
        status = audit_both(engine, options, 0.4 * seconds, a, err);
    }
    if (status == HSD_OK) {
        calibration c = {.options = options, .n_tokens = tokens_of(options), .window = WINDOW};
        c.end_ns = hsdi_now_ns() + (int64_t)(seconds * 0.2e9);
        status = generate(engine, &c, HSD_MODE_SERIAL, HSD_DRAFT_NGRAM, err);
        // A step for which the lookup found nothing counts as one whose first token was wrong.
        int64_t reached = c.n_steps - c.reached[1], passed = 0;
        for (int d = 1; d <= HSDI_WINDOW_MAX; d++) {
            reached += c.reached[d];
            passed += c.passed[d];
        }
        a->ngram_accept = share(passed, reached);
        a->n_seen = a->n_seen > 0.0 ? a->n_seen : c.n_seen;
    }
    hsd_engine_close(&engine);
    return status;
}
