/// See simulated.h. A stage keeps nothing of what its rows held: tokens are functions of positions.
#include <base/error.h>
#include <base/rng.h>
#include <math.h>
#include <pipelines/simulated.h>
#include <stdlib.h>
#include <string.h>

enum { N_VOCAB = 50000, TOP = HSDI_TOP_MAX };

/// Streams of random numbers.
enum { DRAW_TOKEN = 101, DRAW_RIGHT, DRAW_PLACE, DRAW_LOOKUP };

/// Scores of a list. In chains they tell right from wrong first candidates, so that the order of
/// the roots is that of the statistics: a source's ranks already say how much it knows. Trees grow
/// by the scores, and there nothing may tell.
static const float SURE_GAP = 4.0f, UNSURE_GAP = 0.1f, TREE_GAP = 1.2f, NEXT_GAP = 0.2f;

struct hsdi_simulated {
    hsdi_simulated_pair pair;
    hsdi_acceptance acceptance;
    /// Chance that the right token is among the first n others, where the first one is wrong.
    double own[TOP + 1], both[TOP + 1];
    bool *right; ///< [n_ctx] is the first candidate for a position right? NULL: drawn when asked
    int n_committed; ///< tokens of the text
    int n_flying;    ///< of the longest chain that is verified now; -1: nothing is
    // The target's.
    hsdi_simulated_spend spend;
    void *self;
    hsdi_rows rows; ///< of the running pass, borrowed
    int64_t n_right[HSDI_WINDOW_MAX + 1], n_reached[HSDI_WINDOW_MAX + 1]; ///< per depth
};

// ---- statistics ----

static double accept_at(const hsdi_simulated *s, int depth)
{
    return s->acceptance.accept[depth < 1                  ? 1
                                : depth > HSDI_COST_DEPTHS ? HSDI_COST_DEPTHS
                                                           : depth];
}

/// Hit rate of the best n roots: between the counts that are known, straight in log n.
static double rate_at(const double rates[HSDI_COST_ROWS], double n)
{
    double at = n > 1.0 ? log2(n) : 0.0;
    int i = (int)at;
    if (i >= HSDI_COST_ROWS - 1) {
        return rates[HSDI_COST_ROWS - 1];
    }
    return rates[i] + (rates[i + 1] - rates[i]) * (at - i);
}

/// How often a window is right as a whole, and how often the token behind such a one is.
static void count_whole(const hsdi_simulated *s, double *whole, double *first)
{
    int n_steps = 0, n_whole = 0, n_first = 0, window = s->pair.window;
    for (int at = s->pair.n_prompt; s->right && at + window + 1 < s->pair.n_ctx; n_steps++) {
        int n = 0;
        while (n < window && s->right[at + n]) {
            n++;
        }
        n_whole += n == window;
        n_first += n == window && s->right[at + n];
        at += n + 1;
    }
    if (n_steps > 0) {
        *whole = (double)n_whole / n_steps;
        *first = n_whole > 0 ? (double)n_first / n_whole : *first;
    }
}

/// A verification ends behind the whole window with chance `whole`, and then the first candidate
/// is a root and right with chance `first`; else it is out. From that, what the other candidates
/// must be right with. In trees every row offers its best: n of each row are n * rows roots.
static void spread_rates(const hsdi_simulated *s, const double rates[HSDI_COST_ROWS],
                         double out[TOP + 1])
{
    double whole = 1.0, first = accept_at(s, s->pair.window + 1);
    for (int d = 1; d <= s->pair.window; d++) {
        whole *= accept_at(s, d);
    }
    count_whole(s, &whole, &first);
    out[0] = 0.0;
    for (int n = 1; n <= TOP; n++) {
        double rate = rate_at(rates, s->pair.is_tree ? n * (s->pair.window + 1.0) : n);
        double rest = rate - whole * (first + (1.0 - first) * out[n - 1]);
        double chance = whole < 1.0 ? rest / (1.0 - whole) : 1.0;
        chance = s->pair.is_tree ? rate : chance;
        out[n] = fmin(1.0, fmax(out[n - 1], chance));
    }
}

// ---- the text ----

int32_t hsdi_simulated_truth(const hsdi_simulated *s, int position)
{
    return (int32_t)(hsdi_uniform_at(s->pair.seed, position, DRAW_TOKEN) * N_VOCAB);
}

/// The trail from the text on that the seed counts, over and over.
static void follow_trail(hsdi_simulated *s)
{
    const char *trail = s->acceptance.trail;
    uint64_t n_texts = 1;
    for (const char *c = trail; *c; c++) {
        n_texts += *c == ' ';
    }
    const char *at = trail;
    for (uint64_t i = s->pair.seed % n_texts; i > 0; i--) {
        at = strchr(at, ' ') + 1;
    }
    for (int i = s->pair.n_prompt; i < s->pair.n_ctx; i++) {
        at += strspn(at, " ");
        at = *at ? at : trail + strspn(trail, " ");
        s->right[i] = *at == '0';
        at++;
    }
}

/// Stretches of right tokens, whose depth counts from the last wrong one.
static void draw_stretches(hsdi_simulated *s)
{
    for (int i = s->pair.n_prompt, depth = 1; i < s->pair.n_ctx; i++) {
        double draw = hsdi_uniform_at(s->pair.seed, i, DRAW_RIGHT);
        s->right[i] = draw < accept_at(s, depth);
        depth = s->right[i] ? depth + 1 : 1;
    }
}

static hsd_status make_text(hsdi_simulated *s, hsd_error *err)
{
    const char *trail = s->acceptance.trail;
    bool has_trail = trail[strspn(trail, " ")] != 0;
    if (!has_trail && !s->pair.runs_on) {
        return HSD_OK;
    }
    s->right = calloc((size_t)s->pair.n_ctx + 1, sizeof *s->right);
    if (!s->right) {
        return hsdi_fail(err, HSD_ENOMEM, "simulated", "no memory for %d tokens", s->pair.n_ctx);
    }
    if (has_trail) {
        follow_trail(s);
    } else {
        draw_stretches(s);
    }
    return HSD_OK;
}

static bool is_right_at(const hsdi_simulated *s, int position, int depth, bool is_lookup)
{
    double chance = is_lookup ? s->acceptance.ngram_accept : accept_at(s, depth);
    return hsdi_uniform_at(s->pair.seed, position, is_lookup ? DRAW_LOOKUP : DRAW_RIGHT) < chance;
}

/// Is a draft's first candidate for this position right? Its depth is counted from where the
/// window that holds it begins: at the committed text, else behind the outcome of the window
/// before, and so on.
static bool is_first_right(const hsdi_simulated *s, int position, bool is_lookup)
{
    if (s->right && !is_lookup) {
        return position < s->pair.n_ctx && s->right[position];
    }
    int begin = s->n_committed;
    int n = s->n_flying >= 0 ? s->n_flying : s->pair.window;
    while (position >= begin) {
        int depth = 1;
        for (; depth <= n + 1; depth++) { // behind a whole window one token more
            bool is_right = is_right_at(s, begin + depth - 1, depth, is_lookup);
            if (begin + depth - 1 == position) {
                return is_right;
            }
            if (!is_right) {
                break;
            }
        }
        begin += depth <= n + 1 ? depth : n + 1;
        n = s->pair.window;
    }
    return is_right_at(s, position, 1, is_lookup); // of a text that is over
}

/// Where the right token stands behind a wrong first candidate, from 1; 0: nowhere.
static int place_of(const hsdi_simulated *s, const double chance[TOP + 1], int position)
{
    double draw = hsdi_uniform_at(s->pair.seed, position, DRAW_PLACE);
    for (int n = 1; n <= TOP; n++) {
        if (draw < chance[n]) {
            return n;
        }
    }
    return 0;
}

/// Candidates for a position: the right one at `place` (-1: nowhere), the same wrong ones in the
/// same order around it.
static void fill_list(const hsdi_simulated *s, int position, int place, hsdi_candidate *out, int n)
{
    int32_t truth = hsdi_simulated_truth(s, position);
    float gap = s->pair.is_tree ? TREE_GAP : place == 0 ? SURE_GAP : UNSURE_GAP, score = 0.0f;
    for (int i = 0, wrong = 1; i < n; i++) {
        bool is_truth = i == place;
        out[i].token = is_truth ? truth : (truth + wrong) % N_VOCAB;
        out[i].score = score;
        wrong += !is_truth;
        score -= i == 0 ? gap : s->pair.is_tree ? NEXT_GAP : gap < 1.0f ? UNSURE_GAP : NEXT_GAP;
    }
}

/// Place in a list of n, -1: nowhere. What stands behind the end of a list, but among the roots,
/// stands at the end.
static int listed_place(const hsdi_simulated *s, const double chance[TOP + 1], int position, int n)
{
    int place = place_of(s, chance, position);
    bool is_root = place > 0 && (place <= s->pair.roots || s->pair.is_tree);
    return !is_root ? -1 : place < n ? place : s->pair.is_tree ? -1 : n - 1;
}

// ---- the target ----

static void spend_target(const hsdi_simulated *s, hsdi_simulated_part part, const hsdi_rows *rows)
{
    const hsdi_simulated_call call = {.part = part,
                                      .n_rows = rows->n_rows,
                                      .n_past = rows->n_trunk,
                                      .is_silent = part == HSDI_SIMULATED_PREFILL ||
                                                   part == HSDI_SIMULATED_PREFIX,
                                      .is_alone = part == HSDI_SIMULATED_PREFILL || rows->is_alone};
    s->spend(s->self, &call);
}

static hsd_status target_prefill(void *self, const hsdi_rows *rows, hsd_error *err)
{
    hsdi_simulated *s = self;
    (void)err;
    spend_target(s, HSDI_SIMULATED_PREFILL, rows);
    return HSD_OK;
}

static hsd_status target_prefix(void *self, const hsdi_rows *rows, hsd_error *err)
{
    hsdi_simulated *s = self;
    (void)err;
    s->rows = *rows;
    s->n_committed = rows->pos[0] + 1;
    s->n_flying = 0;
    for (int row = 1; row < rows->n_rows; row++) {
        int depth = rows->pos[row] - rows->pos[0];
        s->n_flying = depth > s->n_flying ? depth : s->n_flying;
    }
    spend_target(s, HSDI_SIMULATED_PREFIX, rows);
    return HSD_OK;
}

static hsd_status target_proxies(void *self, int n_top, hsdi_candidate *out, hsd_error *err)
{
    hsdi_simulated *s = self;
    (void)err;
    spend_target(s, HSDI_SIMULATED_EXIT, &s->rows);
    for (int row = 0; row < s->rows.n_rows; row++) {
        int position = s->rows.pos[row] + 1;
        int place =
            is_first_right(s, position, false) ? 0 : listed_place(s, s->both, position, n_top);
        fill_list(s, position, place, out + (size_t)row * (size_t)n_top, n_top);
    }
    return HSD_OK;
}

static hsd_status target_suffix(void *self, int32_t *own, hsd_error *err)
{
    hsdi_simulated *s = self;
    (void)err;
    spend_target(s, HSDI_SIMULATED_SUFFIX, &s->rows);
    // A row's token is right where all before it are; then one token more is committed.
    int begin = s->rows.pos[0], n_right = 0;
    for (int depth = 1; depth <= s->n_flying && n_right == depth - 1; depth++) {
        for (int row = 1; row < s->rows.n_rows; row++) {
            bool is_right = s->rows.pos[row] == begin + depth &&
                            s->rows.tokens[row] == hsdi_simulated_truth(s, begin + depth);
            n_right = is_right ? depth : n_right;
        }
    }
    for (int row = 0; row < s->rows.n_rows; row++) {
        own[row] = hsdi_simulated_truth(s, s->rows.pos[row] + 1);
    }
    for (int depth = 1; depth <= s->n_flying && depth <= n_right + 1; depth++) {
        s->n_reached[depth]++;
        s->n_right[depth] += depth <= n_right;
    }
    s->n_committed += n_right + 1;
    s->n_flying = -1;
    return HSD_OK;
}

hsdi_target_stage hsdi_simulated_target(hsdi_simulated *s, hsdi_simulated_spend spend, void *self)
{
    s->spend = spend;
    s->self = self;
    return (hsdi_target_stage){
        .self = s,
        .limits = {.n_vocab = N_VOCAB,
                   .n_ctx = s->pair.n_ctx,
                   .n_cells = s->pair.n_ctx + HSDI_TREE_MAX + 1,
                   .n_rows_max = s->pair.n_rows_max,
                   .n_top_max = TOP},
        .has_exit = s->pair.has_exit,
        .prefill = target_prefill,
        .prefix = target_prefix,
        .proxies = target_proxies,
        .suffix = target_suffix,
    };
}

void hsdi_simulated_count(const hsdi_simulated *s, int depth, int64_t *n_right, int64_t *n_reached)
{
    *n_right = s->n_right[depth];
    *n_reached = s->n_reached[depth];
}

// ---- drafts ----

static hsd_status draft_eval(void *self, const hsdi_rows *rows, int n_top, hsdi_candidate *out,
                             hsd_error *err)
{
    const hsdi_simulated_draft *draft = self;
    const hsdi_simulated *s = draft->simulated;
    (void)err;
    // What it says is what it knew when it began.
    for (int row = 0; row < rows->n_rows && n_top > 0; row++) {
        int position = rows->pos[row] + 1;
        int place = is_first_right(s, position, draft->is_lookup)
                        ? 0
                        : listed_place(s, s->own, position, n_top);
        fill_list(s, position, place, out + (size_t)row * (size_t)n_top, n_top);
    }
    const hsdi_simulated_call call = {.part = HSDI_SIMULATED_DRAFT,
                                      .n_rows = rows->n_rows,
                                      .n_past = rows->n_trunk,
                                      .is_silent = n_top == 0};
    draft->spend(draft->self, &call);
    return HSD_OK;
}

static hsd_status draft_open(void *self, const hsdi_draft_config *config, hsdi_draft_stage *out,
                             hsd_error *err)
{
    const hsdi_simulated_draft *draft = self;
    (void)err;
    *out = (hsdi_draft_stage){
        .self = self,
        .limits = {.n_vocab = N_VOCAB,
                   .n_ctx = config->n_ctx,
                   .n_cells = hsdi_draft_cells_needed(config),
                   .n_rows_max = draft->simulated->pair.n_rows_max,
                   .n_top_max = TOP},
        .eval = draft_eval,
    };
    return HSD_OK;
}

static void draft_close(void *self, hsdi_draft_stage *stage)
{
    (void)self;
    (void)stage;
}

hsdi_draft_factory hsdi_simulated_factory(hsdi_simulated_draft *draft)
{
    return (hsdi_draft_factory){
        .self = draft, .n_vocab = N_VOCAB, .open = draft_open, .close = draft_close};
}

hsd_status hsdi_simulated_create(const hsdi_simulated_pair *pair, hsdi_simulated **out,
                                 hsd_error *err)
{
    hsdi_simulated *s = calloc(1, sizeof *s);
    if (!s) {
        return hsdi_fail(err, HSD_ENOMEM, "simulated", "no memory for a simulated pair");
    }
    s->pair = *pair;
    s->acceptance = *pair->acceptance;
    s->n_flying = -1;
    hsd_status status = make_text(s, err);
    if (status != HSD_OK) {
        free(s);
        return status;
    }
    double own[HSDI_COST_ROWS], both[HSDI_COST_ROWS];
    hsdi_acceptance_roots(&s->acceptance, s->pair.window, own, both);
    spread_rates(s, own, s->own);
    spread_rates(s, both, s->both);
    *out = s;
    return HSD_OK;
}

void hsdi_simulated_destroy(hsdi_simulated **simulated)
{
    if (*simulated) {
        free((*simulated)->right);
    }
    free(*simulated);
    *simulated = NULL;
}
