/// The search for a plan. Inside of the planner: search.c has rules, places and what was found,
/// search_drafts.c drafts and windows, search_workers.c sets of workers; reasons.c asks again.
#ifndef HSDI_TOPOLOGY_SEARCH_H
#define HSDI_TOPOLOGY_SEARCH_H

#include <topology/law.h>

enum { HSDI_SEARCH_KEPT = HSDI_PLAN_RUNNERS_UP + 1, HSDI_SEARCH_THREADS = 24 };
enum { HSDI_SEARCH_MODES = HSD_MODE_ASYNC + 1, HSDI_SEARCH_SETS = 256 };

typedef struct hsdi_kept {
    hsdi_plan_candidate candidate;
    double value; ///< 0: nothing
} hsdi_kept;

/// Best settings of different kinds: best first.
typedef struct hsdi_search {
    const hsdi_machine *machine;
    const hsdi_costs *costs;
    const hsdi_plan_options *options;
    hsdi_machine_choices choices; ///< the machine's, or with more decided
    int order[HSDI_MACHINE_DEVICES], workers[HSDI_MACHINE_WORKERS]; ///< by name
    int n_kept;
    hsdi_kept kept[HSDI_SEARCH_KEPT];
    bool has_alone;
    hsdi_kept alone; ///< best of mode AR, whether it may be chosen or not
    int64_t n_tried, n_pruned;
    /// Bits of modes: the best setting of each of them is wanted, and the best of all. 0: the best
    /// settings of any kind are, as kept.
    unsigned asked;
    hsdi_kept of_mode[HSDI_SEARCH_MODES];
    hsdi_law_known known;
    /// No step of a kind and mode with a window and so many more rows is worth more, on the place
    /// that is searched. 0: not asked for yet.
    double bounds[HSDI_LAW_KINDS][HSDI_SEARCH_MODES][HSDI_SEARCH_WINDOW + 1][HSDI_SEARCH_TREE + 1];
    double most[HSDI_LAW_KINDS][HSDI_SEARCH_MODES]; ///< the same with any window and tree
} hsdi_search;

void hsdi_search_init(hsdi_search *s, const hsdi_machine *machine, const hsdi_costs *costs,
                      const hsdi_plan_options *options);

/// Nothing was found, and the machine alone decides; what is known stays.
void hsdi_search_reset(hsdi_search *s);

/// Try everything that the choices leave.
HSD_NODISCARD hsd_status hsdi_search_run(hsdi_search *s, hsd_error *err);

/// Why no target / no draft of ours can be on a device; NULL: it can.
const char *hsdi_search_target_bar(const hsdi_search *s, int i_device);
const char *hsdi_search_draft_bar(const hsdi_search *s, int i_device);

/// Do weights, caches and working rows fit? Else the device or host that is too small, and what it
/// would need.
typedef struct hsdi_shortage {
    const char *name; ///< NULL: the limit of caches
    int64_t need_bytes, have_bytes;
} hsdi_shortage;

bool hsdi_search_fits(const hsdi_search *s, const hsdi_plan_setting *setting, hsdi_shortage *out);

void hsdi_search_needs(const hsdi_search *s, const hsdi_plan_setting *setting,
                       hsdi_plan_needs *out);

/// Does hsd have EL-attention for the model?
bool hsdi_search_has_el(const hsdi_search *s, hsdi_cost_role role);
/// Layers of a model with its first ones on a device that keep their input.
int hsdi_search_el_layers(const hsdi_search *s, hsdi_cost_role role, int i_device);

/// Roots of a session's draft where none are given, see engine/session.c.
enum { HSDI_USUAL_ROOTS = 8 };

enum { HSDI_SHORTAGE_TEXT = 96 };
/// "the target needs 5.2 GiB there, it has 4.0 GiB"
void hsdi_shortage_tell(const hsdi_shortage *lacks, const char *who, const char *device,
                        char out[HSDI_SHORTAGE_TEXT]);

/// Sentences for a plan that is complete otherwise.
void hsdi_plan_explain(const hsdi_search *done, hsdi_plan *plan);

// ---- between the files of the search ----

/// Thread counts with a table, ascending; one entry 0 where there is nothing to choose.
int hsdi_search_threads(const hsdi_search *s, hsdi_cost_role role, int i_device, int pinned,
                        int out[HSDI_SEARCH_THREADS]);
bool hsdi_search_mode_is_free(const hsdi_search *s, hsd_mode mode);
/// What a setting of a mode must be worth to be looked at.
double hsdi_search_cut(const hsdi_search *s, hsd_mode mode);
bool hsdi_search_is_too_hot(const hsdi_search *s, const hsdi_plan_setting *setting);
void hsdi_search_try(hsdi_search *s, hsdi_law *law, const hsdi_plan_setting *setting);

/// Most that any window and tree of a mode is worth on a place.
double hsdi_search_bound(hsdi_search *s, const hsdi_law *place, const hsdi_plan_setting *setting);
/// Every draft and window for the target's place; x is the place, and comes back changed.
void hsdi_search_drafts(hsdi_search *s, const hsdi_law *place, hsdi_plan_setting *x);

/// Workers that may be used, by name, and what they add to a step of the place.
typedef struct hsdi_pool {
    int n, worker[HSDI_MACHINE_WORKERS];
    double one_ns[HSDI_MACHINE_WORKERS], far_ns[HSDI_MACHINE_WORKERS];
    uint64_t shares[HSDI_MACHINE_WORKERS]; ///< hardware with which others
    hsdi_law_draft draft[HSDI_MACHINE_WORKERS];
} hsdi_pool;

void hsdi_pool_find(const hsdi_search *s, const hsdi_law *place, hsdi_plan_setting *x,
                    hsdi_pool *out);
/// A set of them as a setting's, at most HSDI_PLAN_WORKERS; returns how many there are.
int hsdi_pool_take(const hsdi_search *s, const hsdi_pool *p, uint64_t set, hsdi_plan_setting *x,
                   hsdi_law_draft *drafts);
/// Sets of several; returns how many.
int hsdi_pool_sets(const hsdi_pool *p, uint64_t sets[HSDI_SEARCH_SETS]);
/// The quickest `most` of a set.
uint64_t hsdi_pool_trim(const hsdi_pool *p, uint64_t set, int most);

#endif
