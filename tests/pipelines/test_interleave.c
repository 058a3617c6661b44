/// Proves: through every interleaving of a small generation - any amount of computing between two
///         messages, any window verified (the last, a late one, none, another worker's), any row
///         accepted, a frame lost, the session opened again at any point - each window of a draft
///         continues the text that the target had when it ended that step, holds what the draft
///         stage says to this very text, and comes when it is due; nothing that docs/protocol.md
///         allows is refused, and what follows a lost STEP or COMMIT always is.
/// Does not prove: the transport and the target's side (test_target.c, test_faults.c, and
///         tests/model/ for their interplay).
///
/// HSD_TEST_PATHS=n: n interleavings of each setting, drawn, instead of all.
#include "scripted.h"

#include <pipelines/protocol.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_VOCAB = 3, N_CTX = 24, N_PROMPT = 2, SEEN_MAX = 32, CHOICES_MAX = 128, SESSION = 7 };

/// What is enumerated.
typedef struct instance {
    const char *name;
    hsd_mode mode;
    int window, tree, n_proxies;
    int n_steps;     ///< COMMITs
    int n_lost;      ///< frames that may be lost, in all
    int n_reopened;  ///< times that the session may be opened again, in all
    bool has_late;   ///< windows of earlier steps are verified too
    bool has_others; ///< another worker's window may be verified
    bool has_pauses; ///< COMMIT may ask for no window; nothing is told then until one is wanted
} instance;

/// All sequences of choices, in lexical order: a path is played from the start for each. Or n_drawn
/// of them.
typedef struct choices {
    uint8_t choice[CHOICES_MAX], n_options[CHOICES_MAX];
    int n, at;
    long n_drawn; ///< still to come; 0: all, in order
    uint64_t random;
} choices;

typedef struct play {
    const instance *is;
    choices *choices;
    scripted_script script;
    hsdi_draft_config config;
    hsdi_draft_factory factory;
    hsdi_draft_stage stage, oracle;
    hsdi_draft *draft; ///< the worker's
    // The target's side.
    int32_t text[N_CTX];
    int n_text;
    uint32_t epoch, step;
    int n_text_at[16]; ///< when step i began
    int n_told;        ///< of the text, at the end of the last pass that was told
    int want;
    bool is_stepped;
    hsdi_window window; ///< of the running pass
    bool is_told;       ///< and the worker knows it
    hsdi_draft_window seen[SEEN_MAX];
    int n_seen; ///< in this epoch
    int n_lost, n_reopened;
    bool has_lost; ///< the worker has missed a frame of this session
    long n_windows;
} play;

static int choose(play *p, int n_options)
{
    choices *c = p->choices;
    assert_true(c->at < CHOICES_MAX && n_options > 0);
    if (c->at == c->n) {
        c->random = c->random * 6364136223846793005u + 1442695040888963407u;
        uint32_t drawn = (uint32_t)(c->random >> 33) % (uint32_t)n_options;
        c->choice[c->n] = c->n_drawn > 0 ? (uint8_t)drawn : 0;
        c->n_options[c->n++] = (uint8_t)n_options;
    }
    assert_int_equal(c->n_options[c->at], n_options); // the pipeline is deterministic
    return c->choice[c->at++];
}

/// Go to the next sequence. False after the last.
static bool next_path(choices *c)
{
    c->at = 0;
    if (c->n_drawn > 0) {
        c->n = 0;
        return --c->n_drawn > 0;
    }
    while (c->n > 0 && ++c->choice[c->n - 1] == c->n_options[c->n - 1]) {
        c->n--;
    }
    return c->n > 0;
}

static void fail_path(const play *p, const char *what)
{
    print_error("%s: %s; choices:", p->is->name, what);
    for (int i = 0; i < p->choices->at; i++) {
        print_error(" %d/%d", p->choices->choice[i], p->choices->n_options[i]);
    }
    print_error("\n");
    fail();
}

static void require(const play *p, bool holds, const char *what)
{
    if (!holds) {
        fail_path(p, what);
    }
}

static void make_draft(play *p)
{
    hsd_error err = {0};
    assert_int_equal(p->factory.open(p->factory.self, &p->config, &p->stage, &err), HSD_OK);
    assert_int_equal(hsdi_draft_create(&p->stage, &p->config, p->is->n_proxies, &p->draft, &err),
                     HSD_OK);
}

static void free_draft(play *p)
{
    hsdi_draft_destroy(&p->draft);
    p->factory.close(p->factory.self, &p->stage);
}

/// What the draft stage lists after n tokens of the text and this path of the window.
/// Shapes: out [n_top].
static void consult(play *p, int n, const hsdi_window *window, int row, hsdi_candidate *out)
{
    int32_t tokens[N_CTX], pos[N_CTX], cell[N_CTX], n_path[N_CTX], paths[N_CTX * N_CTX];
    hsdi_candidate lists[N_CTX * HSDI_TOP_MAX];
    hsd_error err = {0};
    int path[HSDI_WINDOW_ROWS], n_rows = n + hsdi_window_path(window, row, path) - 1;
    for (int i = 0; i < n_rows; i++) {
        tokens[i] = i < n ? p->text[i] : window->tokens[path[i - n + 1] - 1];
        pos[i] = cell[i] = i;
        n_path[i] = i + 1;
        for (int j = 0; j <= i; j++) {
            paths[i * N_CTX + j] = j;
        }
    }
    hsdi_rows rows = {.n_rows = n_rows,
                      .tokens = tokens,
                      .pos = pos,
                      .cell = cell,
                      .path = paths,
                      .n_path = n_path,
                      .path_stride = N_CTX};
    assert_int_equal(p->oracle.eval(p->oracle.self, &rows, p->config.n_top, lists, &err), HSD_OK);
    memcpy(out, lists + (n_rows - 1) * p->config.n_top, (size_t)p->config.n_top * sizeof *out);
}

/// Every token is one that the stage lists there, or of the window that is being verified.
static void check_tokens(play *p, const hsdi_draft_window *from)
{
    const hsdi_window *window = &from->window;
    int verified_row[HSDI_WINDOW_ROWS] = {p->is_told && from->step == p->step ? 0 : -1};
    for (int i = 0; i < window->n_tokens; i++) {
        int parent = window->parents[i], at = verified_row[parent];
        verified_row[i + 1] = at >= 0 ? hsdi_window_child(&p->window, at, window->tokens[i]) : -1;
        hsdi_candidate list[HSDI_TOP_MAX];
        consult(p, from->n_committed, window, parent, list);
        bool is_listed = verified_row[i + 1] >= 0;
        for (int j = 0; j < p->config.n_top && !is_listed && list[j].token >= 0; j++) {
            is_listed = list[j].token == window->tokens[i];
        }
        require(p, is_listed, "a window holds a token that nobody proposed");
    }
}

/// A window as the target gets it: encoded, decoded, checked.
static void take_window(play *p, const hsdi_draft_window *window)
{
    uint8_t bytes[HSDI_FRAME_SMALL_BYTES];
    hsd_error err = {0};
    hsdi_frame frame = {.type = HSDI_FRAME_WINDOW, .epoch = p->epoch, .session = SESSION};
    frame.window = *window;
    frame.step = window->step;
    size_t n = hsdi_frame_encode(&frame, NULL, NULL, bytes, sizeof bytes);
    require(p, n > 0 && hsdi_frame_decode(bytes, n, &frame, &err) == HSD_OK, "a damaged WINDOW");
    window = &frame.window;
    require(p, hsdi_window_is_valid(&window->window, N_VOCAB), "an impossible window");
    // A worker that has missed a COMMIT, or was not told of it, cannot know it yet.
    bool is_behind = p->has_lost || p->n_told < p->n_text;
    require(p, window->step == p->step || (is_behind && window->step < p->step),
            "a window is of another step");
    require(p, window->n_committed == p->n_text_at[window->step],
            "a window continues another text");
    require(p, window->window.n_tokens <= p->config.tree || p->is->mode == HSD_MODE_ASYNC,
            "a window is too large");
    check_tokens(p, window);
    assert_true(p->n_seen < SEEN_MAX);
    p->seen[p->n_seen++] = *window;
    p->n_windows++;
}

static void work_once(play *p)
{
    hsd_error err = {0};
    hsdi_draft_window window;
    require(p, hsdi_draft_work(p->draft, &err) == HSD_OK, "a quantum of work failed");
    if (hsdi_draft_take_window(p->draft, &window)) {
        take_window(p, &window);
    }
}

/// Any number of quanta before the next message.
static void work_some(play *p)
{
    while (hsdi_draft_has_work(p->draft) && choose(p, 2) == 1) {
        work_once(p);
    }
}

/// What a worker does with a frame of its session.
static hsd_status apply(play *p, const hsdi_frame *frame)
{
    hsd_error err = {0};
    hsdi_candidate proxies[HSDI_WINDOW_ROWS * HSDI_TOP_MAX];
    int32_t tokens[N_CTX];
    switch (frame->type) {
    case HSDI_FRAME_OPEN:
        for (int i = 0; i < frame->open.n_tokens; i++) {
            tokens[i] = hsdi_frame_token(frame, i);
        }
        return hsdi_draft_open(p->draft, frame->step, tokens, frame->open.n_tokens, &err);
    case HSDI_FRAME_STEP:
        return hsdi_draft_step(p->draft, frame->step, &frame->step_.window, &frame->step_.share,
                               &err);
    case HSDI_FRAME_ALONE:
        for (int i = 0; i < frame->alone.n_tokens; i++) {
            tokens[i] = hsdi_frame_token(frame, i);
        }
        return hsdi_draft_alone(p->draft, frame->step, tokens, frame->alone.n_tokens,
                                frame->alone.n_committed, frame->alone.want, &err);
    case HSDI_FRAME_PROXIES:
        for (int i = 0; i < frame->proxies.n_rows * frame->proxies.n_top; i++) {
            proxies[i] =
                hsdi_frame_proxy(frame, i / frame->proxies.n_top, i % frame->proxies.n_top);
        }
        return hsdi_draft_proxies(p->draft, frame->step, frame->proxies.n_rows,
                                  frame->proxies.n_top, proxies, &err);
    default:
        return hsdi_draft_commit(p->draft, frame->step, frame->commit.row, frame->commit.next,
                                 frame->commit.n_committed, frame->commit.want, &err);
    }
}

/// Encode a frame of the target, decode and apply it.
static hsd_status deliver(play *p, hsdi_frame *frame, const hsdi_candidate *proxies)
{
    uint8_t bytes[HSDI_FRAME_SMALL_BYTES];
    hsd_error err = {0};
    hsdi_frame got;
    frame->epoch = p->epoch;
    frame->session = SESSION;
    bool is_alone = frame->type == HSDI_FRAME_ALONE; // it begins with the first pass of them
    frame->step = p->step - (is_alone ? (uint32_t)frame->alone.n_tokens - 1 : 0);
    size_t n = hsdi_frame_encode(frame, p->text + (is_alone ? p->n_told : 0), proxies, bytes,
                                 sizeof bytes);
    require(p, n > 0 && hsdi_frame_decode(bytes, n, &got, &err) == HSD_OK, "a damaged frame");
    require(p, got.epoch == p->epoch && got.session == SESSION && got.step == frame->step,
            "a frame's head has changed");
    return apply(p, &got);
}

static void open_session(play *p)
{
    hsdi_frame frame = {.type = HSDI_FRAME_OPEN};
    frame.open.config = p->config;
    frame.open.n_proxies = p->is->n_proxies;
    frame.open.n_vocab = N_VOCAB;
    frame.open.n_tokens = p->n_text;
    p->epoch++;
    p->n_seen = 0; // windows of another epoch are stale
    p->has_lost = false;
    p->is_stepped = p->is_told = false;
    p->n_told = p->n_text;
    if (p->step == 0 || !p->is->has_pauses) { // a pause goes on
        p->want = p->config.window;
    }
    require(p, deliver(p, &frame, NULL) == HSD_OK, "OPEN was refused");
}

/// The session is opened again at this point: one that lives begins again, a lost one anew.
static void maybe_reopen(play *p)
{
    if (p->n_reopened < p->is->n_reopened && choose(p, 2) == 1) {
        p->n_reopened++;
        open_session(p);
    }
}

/// Send a STEP or COMMIT, or lose it. What comes after a lost one must be refused: the session
/// is gone then and is opened from nothing. True when the worker has applied the frame.
static bool tell(play *p, hsdi_frame *frame)
{
    if (p->n_lost < p->is->n_lost && choose(p, 2) == 1) {
        p->n_lost++;
        p->has_lost = true;
        return false;
    }
    hsd_status status = deliver(p, frame, NULL);
    require(p, status == (p->has_lost ? HSD_EPROTOCOL : HSD_OK),
            p->has_lost ? "a frame behind a lost one was applied" : "a frame was refused");
    return status == HSD_OK;
}

static void restart(play *p)
{
    free_draft(p);
    make_draft(p);
    open_session(p);
}

static hsdi_window chain_of(int32_t a, int32_t b, int n)
{
    hsdi_window window = {0};
    (void)hsdi_window_add(&window, 0, a);
    if (n > 1) {
        (void)hsdi_window_add(&window, 1, b);
    }
    return window;
}

/// Windows that the target may verify now. Shapes: out [SEEN_MAX + 4]; returns how many.
static int windows_on_offer(const play *p, hsdi_window *out)
{
    int n = 1;
    out[0].n_tokens = 0;
    for (int i = p->n_seen - 1; i >= 0 && p->want > 0; i--) {
        hsdi_window window = p->seen[i].window;
        int n_known = p->seen[i].n_committed;
        bool is_now = p->seen[i].step == p->step;
        bool is_old = !hsdi_window_follow(&window, p->text + n_known, p->n_text - n_known);
        hsdi_window_prune(&window, p->want, p->want + p->config.tree - p->config.window);
        for (int j = 0; j < n && !is_old; j++) {
            is_old = hsdi_window_is_same(&window, &out[j]);
        }
        if (!is_old && (is_now || p->is->has_late)) {
            out[n++] = window;
        }
    }
    if (p->is->has_others && p->want > 0) {
        hsdi_window other = chain_of(2, 0, p->want);
        if (p->config.tree > p->config.window && n > 1) { // it joins the one that leads
            out[n] = out[1];
            hsdi_window_merge(&out[n++], &other, p->config.tree);
        }
        out[n++] = other;
    }
    return n;
}

static bool begin_pass(play *p)
{
    hsdi_window offers[SEEN_MAX + 4];
    int n = windows_on_offer(p, offers);
    p->window = offers[choose(p, n)];
    p->is_stepped = p->is_told = true;
    if (p->want == 0) {
        return true;
    }
    hsdi_frame frame = {.type = HSDI_FRAME_STEP};
    frame.step_.window = p->window;
    frame.step_.share = (hsdi_draft_share){0, HSDI_SHARE_ALL};
    p->is_told = tell(p, &frame);
    return p->is_told;
}

/// The early exit proposes one token per row.
static void send_proxies(play *p)
{
    hsdi_candidate proxies[HSDI_WINDOW_ROWS];
    hsdi_frame frame = {.type = HSDI_FRAME_PROXIES};
    frame.proxies.n_rows = p->window.n_tokens + 1;
    frame.proxies.n_top = 1;
    for (int row = 0; row < frame.proxies.n_rows; row++) {
        proxies[row] = (hsdi_candidate){(row + (int)p->step) % N_VOCAB, -0.5f};
    }
    hsd_status status = deliver(p, &frame, proxies);
    require(p, p->has_lost || status == HSD_OK, "PROXIES were refused");
}

/// The target's decision: any row, and behind it any token that the window has not there.
static bool end_pass(play *p)
{
    int row = choose(p, p->window.n_tokens + 1), n_next = 0, path[HSDI_WINDOW_ROWS];
    int32_t nexts[N_VOCAB];
    for (int32_t token = 0; token < N_VOCAB; token++) {
        if (hsdi_window_child(&p->window, row, token) < 0) {
            nexts[n_next++] = token;
        }
    }
    if (n_next == 0) { // all of them: this row cannot be the last
        return true;
    }
    int n = hsdi_window_path(&p->window, row, path);
    for (int i = 1; i < n; i++) {
        p->text[p->n_text++] = p->window.tokens[path[i] - 1];
    }
    p->text[p->n_text++] = nexts[choose(p, n_next)];
    bool was_alone = p->want == 0, is_known = true;
    p->want = p->is->has_pauses && choose(p, 2) == 1 ? 0 : p->config.window;
    if (!was_alone) {
        hsdi_frame frame = {.type = HSDI_FRAME_COMMIT};
        frame.commit.row = row;
        frame.commit.next = p->text[p->n_text - 1];
        frame.commit.n_committed = p->n_text;
        frame.commit.want = p->want;
        is_known = tell(p, &frame);
    } else if (p->want > 0) {
        hsdi_frame frame = {.type = HSDI_FRAME_ALONE};
        frame.alone.n_committed = p->n_text;
        frame.alone.want = p->want;
        frame.alone.n_tokens = p->n_text - p->n_told;
        is_known = tell(p, &frame);
    }
    p->n_told = !was_alone || p->want > 0 ? p->n_text : p->n_told;
    p->step++;
    p->n_text_at[p->step] = p->n_text;
    p->is_stepped = p->is_told = false;
    return is_known;
}

/// With nothing more to be told the draft comes to rest, and what was asked for has been sent.
static void settle(play *p)
{
    for (int i = 0; hsdi_draft_has_work(p->draft); i++) {
        require(p, i < 200, "the draft computes for ever");
        work_once(p);
    }
    bool is_there = p->has_lost || p->is_stepped || p->want == 0;
    for (int i = 0; i < p->n_seen && !is_there; i++) {
        is_there = p->seen[i].step == p->step && p->seen[i].window.n_tokens > 0;
    }
    require(p, is_there, "no window came");
}

static void play_path(play *p)
{
    const int32_t prompt[N_PROMPT] = {1, 0};
    memcpy(p->text, prompt, sizeof prompt);
    p->n_text = p->n_text_at[0] = N_PROMPT;
    p->step = p->epoch = 0;
    p->n_lost = p->n_reopened = 0;
    p->has_lost = false;
    make_draft(p);
    open_session(p);
    for (int i = 0; i < p->is->n_steps; i++) {
        work_some(p);
        maybe_reopen(p);
        bool was_lost = p->has_lost;
        if (!begin_pass(p) && was_lost) {
            restart(p);
            continue;
        }
        work_some(p);
        if (p->is->n_proxies > 0 && !p->has_lost && choose(p, 2) == 1) {
            send_proxies(p);
            work_some(p);
        }
        was_lost = p->has_lost;
        if (!end_pass(p) && was_lost) {
            restart(p);
        }
    }
    settle(p);
    free_draft(p);
}

static void run_instance(const instance *is)
{
    const char *n_drawn = getenv("HSD_TEST_PATHS");
    choices all = {.n_drawn = n_drawn ? atol(n_drawn) : 0};
    play p = {.is = is, .choices = &all, .script = scripted_default(11)};
    long n_paths = 0;
    p.script.n_vocab = N_VOCAB;
    p.script.n_ctx = N_CTX;
    p.script.draft_rows = 8;
    p.config = (hsdi_draft_config){.mode = (int)is->mode,
                                   .window = is->window,
                                   .tree = is->tree,
                                   .miss_window = 1,
                                   .roots = 2,
                                   .n_top = 2,
                                   .n_ctx = N_CTX,
                                   .sources = HSDI_SOURCES_BOTH};
    p.factory = scripted_factory(&p.script);
    hsd_error err = {0};
    hsdi_draft_config wide = p.config;
    p.script.draft_rows = N_CTX;
    assert_int_equal(p.factory.open(p.factory.self, &wide, &p.oracle, &err), HSD_OK);
    p.script.draft_rows = 8;
    do {
        play_path(&p);
        n_paths++;
    } while (next_path(&all));
    p.factory.close(p.factory.self, &p.oracle);
    print_message("%-28s %9ld interleavings, %ld windows\n", is->name, n_paths, p.n_windows);
}

/// Settings that grow the number of interleavings most: steps, then proxies and trees.
static const instance INSTANCES[] = {
    {"serial, faults", HSD_MODE_SERIAL, 2, 2, 0, 2, 1, 1, true, false, true},
    {"serial, 3 steps", HSD_MODE_SERIAL, 2, 2, 0, 3, 0, 0, true, false, false},
    {"serial, others", HSD_MODE_SERIAL, 2, 2, 0, 2, 1, 0, true, true, true},
    {"serial, pauses", HSD_MODE_SERIAL, 1, 1, 0, 3, 0, 0, false, false, true},
    {"serial, tree", HSD_MODE_SERIAL, 2, 4, 0, 2, 0, 0, true, true, false},
    {"mirror, faults", HSD_MODE_MIRROR, 1, 1, 0, 2, 1, 1, true, false, false},
    {"mirror, pauses", HSD_MODE_MIRROR, 1, 1, 0, 2, 1, 0, false, false, true},
    {"mirror, others", HSD_MODE_MIRROR, 2, 2, 0, 2, 0, 0, true, true, false},
    {"mirror, proxies", HSD_MODE_MIRROR, 1, 1, 1, 2, 0, 0, false, false, false},
    {"mirror, tree", HSD_MODE_MIRROR, 2, 3, 0, 2, 0, 0, false, true, false},
    {"async, faults", HSD_MODE_ASYNC, 1, 1, 0, 2, 1, 1, true, false, true},
    {"async, 3 steps", HSD_MODE_ASYNC, 1, 1, 0, 3, 0, 0, true, false, false},
    {"async, others", HSD_MODE_ASYNC, 2, 2, 0, 2, 0, 0, false, true, false},
    {"async, tree", HSD_MODE_ASYNC, 2, 3, 0, 2, 0, 0, false, false, false},
};

static void run_mode(hsd_mode mode)
{
    for (size_t i = 0; i < sizeof INSTANCES / sizeof INSTANCES[0]; i++) {
        if (INSTANCES[i].mode == mode) {
            run_instance(&INSTANCES[i]);
        }
    }
}

static void every_interleaving_in_mode_serial(void **state)
{
    (void)state;
    run_mode(HSD_MODE_SERIAL);
}
static void every_interleaving_in_mode_mirror(void **state)
{
    (void)state;
    run_mode(HSD_MODE_MIRROR);
}
static void every_interleaving_in_mode_async(void **state)
{
    (void)state;
    run_mode(HSD_MODE_ASYNC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_interleaving_in_mode_serial),
        cmocka_unit_test(every_interleaving_in_mode_mirror),
        cmocka_unit_test(every_interleaving_in_mode_async),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
