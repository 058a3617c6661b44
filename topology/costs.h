/// Costs: how long target and draft take on each device, and what each loses beside the other.
///
/// Filled by `hsd profile` (measured), or estimated from a machine's rates and the models' shapes.
/// Read by the planner and the simulator. Times are nanoseconds.
#ifndef HSDI_TOPOLOGY_COSTS_H
#define HSDI_TOPOLOGY_COSTS_H

#include <topology/machine.h>

enum { HSDI_COST_ROWS = 7, HSDI_COST_TABLES = 512, HSDI_COST_DEPTHS = 32, HSDI_COST_EXITS = 16 };

/// Bytes of a trail, with its NUL.
enum { HSDI_TRAIL_BYTES = 4096, HSDI_TRAIL_PLACES = 10 };

/// Context length of plans that are asked for none.
enum { HSDI_COST_PAST = 128 };

/// Row counts of a table's entries: 1, 2, 4, 8, 16, 32, 64.
extern const int hsdi_cost_row_counts[HSDI_COST_ROWS];

typedef enum hsdi_cost_role { HSDI_COST_TARGET, HSDI_COST_DRAFT } hsdi_cost_role;

/// A model's shape, as far as plans need it.
typedef struct hsdi_cost_model {
    uint64_t fingerprint; ///< of the file; 0: not known
    int n_layers, n_embd, n_vocab, n_ctx;
    int64_t layer_bytes, head_bytes, embedding_bytes; ///< weights: of one layer, ..
    int64_t cache_bytes;                              ///< keys and values of one token in one layer
    double layer_ops, head_ops;      ///< operations for one row: of one layer, of the head
    bool weights_are_int8;           ///< the CPU and integer variants compute with 8-bit products
    int n_heads, n_kv_heads, d_head; ///< for the cache's layout; 0: not known
    bool is_rotary;
} hsdi_cost_model;

/// One model on one device with a number of threads. A pass of n rows through k layers takes
/// fixed_ns + k * layer_ns(n), and head_ns(n) where it ends in the LM head.
typedef struct hsdi_cost_table {
    hsdi_cost_role role;
    int i_device;
    int n_threads; ///< of a CPU; 0: the device has none to choose
    int n_past;    ///< context length at which it was measured
    double fixed_ns, layer_ns[HSDI_COST_ROWS], head_ns[HSDI_COST_ROWS];
    bool is_measured;
} hsdi_cost_table;

/// Times of one (role, device, threads) while another one computes, over those alone.
typedef struct hsdi_cost_slowdown {
    hsdi_cost_role role;
    int i_device, n_threads; ///< whose time it is
    int i_beside, n_beside;  ///< device and threads of the other
    double factor;           ///< at least 1
} hsdi_cost_slowdown;

/// What a serial step of a pair takes beyond its passes alone: messages, waking the other side, and
/// caches that the other one has used meanwhile.
typedef struct hsdi_cost_turn {
    int i_target, n_target; ///< device and threads
    int i_draft, n_draft;
    double step_ns, call_ns; ///< of each step; of each call of the draft
} hsdi_cost_turn;

/// What the pipelines' own messages cost a step, beyond stages. Links to other hosts come on top.
typedef struct hsdi_cost_rendezvous {
    double inproc_ns, ipc_ns, tcp_ns; ///< both rendezvous of a mirror step
    double serial_extra_ns;           ///< waking the other side, where it sleeps until a commit
} hsdi_cost_rendezvous;

/// How often drafts are right. Index d from 1: given that the tokens before it were accepted.
typedef struct hsdi_acceptance {
    double accept[HSDI_COST_DEPTHS + 1]; ///< [d] of token d of a chain
    double ngram_accept;                 ///< of a lookup's tokens; 0: not known
    /// Chance that the outcome of a verification is among the best n roots: n = 1, 2, 4, .. 64,
    /// with windows of so many tokens (0: not known, and taken for any).
    double own[HSDI_COST_ROWS], both[HSDI_COST_ROWS];
    int window;
    /// The same with shorter ones; window 0: not known.
    double brief_own[HSDI_COST_ROWS], brief_both[HSDI_COST_ROWS];
    int brief_window;
    double exit_part; ///< exit layer over layers where `both` was seen; 0: a half
    double n_seen;    ///< tokens behind it; 0: assumed
    /// Texts of the target, a character for each token: its place in the draft's list where the
    /// draft knows all before it, '0' the first, '-' none. A space between texts. Empty: not known.
    char trail[HSDI_TRAIL_BYTES];
    // By the trail; 0: there is none.
    double chain[HSDI_COST_DEPTHS + 1]; ///< [n] tokens of a step with chains of n
    double starts,
        goes_on; ///< chance of a token behind one that was wrong, behind one that was right
    double
        places[HSDI_TRAIL_PLACES]; ///< [n] share of wrong tokens at the places 1 .. n of the list
} hsdi_acceptance;

typedef struct hsdi_costs {
    hsdi_cost_model target, draft; ///< draft.n_layers 0: there is no draft model
    int n_tables, n_slowdowns, n_turns;
    hsdi_cost_table tables[HSDI_COST_TABLES];
    hsdi_cost_slowdown slowdowns[HSDI_COST_TABLES];
    hsdi_cost_turn turns[HSDI_COST_TABLES];
    hsdi_cost_rendezvous rendezvous;
    hsdi_acceptance acceptance;
} hsdi_costs;

/// Values between row counts lie on straight lines; beyond 64 the last one goes on.
double hsdi_cost_at(const double table[HSDI_COST_ROWS], double n_rows);

/// A pass of n_rows through n_layers; with the head where `head`.
double hsdi_cost_pass(const hsdi_cost_table *table, int n_layers, bool head, double n_rows);

/// The table of a role on a device with n_threads, of several that of the shortest context; NULL:
/// none.
const hsdi_cost_table *hsdi_cost_find(const hsdi_costs *costs, hsdi_cost_role role, int i_device,
                                      int n_threads);

/// The same at a context of n_past tokens: between contexts that were measured on straight lines,
/// beyond them as those go on, but never downwards. False: there is none.
bool hsdi_cost_find_at(const hsdi_costs *costs, hsdi_cost_role role, int i_device, int n_threads,
                       double n_past, hsdi_cost_table *out);

/// Leave one table for each role, device and number of threads: that of a context of n_past tokens.
void hsdi_costs_settle(hsdi_costs *costs, double n_past);

/// The factor of `table` while `beside` computes: measured, else an assumption that costs.c names
/// (1 on hardware of its own, the ratio of shared processors or memory bandwidth elsewhere).
double hsdi_cost_slowdown_of(const hsdi_machine *machine, const hsdi_costs *costs,
                             const hsdi_cost_table *table, const hsdi_cost_table *beside);

/// What a serial step takes beyond the passes of two tables: measured. NULL: it was not.
const hsdi_cost_turn *hsdi_cost_turn_of(const hsdi_costs *costs, const hsdi_cost_table *target,
                                        const hsdi_cost_table *draft);

/// Add tables for every device of the machine that has rates and no measured table of a role, from
/// bytes over bandwidth and operations over rate, whichever is longer, and the launch.
///
/// Errors : HSD_ENOMEM never; HSD_EINVAL for a machine or model that makes no sense.
HSD_NODISCARD hsd_status hsdi_costs_estimate(const hsdi_machine *machine, hsdi_costs *costs,
                                             hsd_error *err);

/// Is there a measured table of that role on the device?
bool hsdi_cost_is_measured(const hsdi_costs *costs, hsdi_cost_role role, int i_device);

/// Costs of messages to assume before any was measured: costs.c names the source of each number.
void hsdi_cost_rendezvous_assume(hsdi_cost_rendezvous *out);

/// Acceptance to assume before anything was seen: costs.c names the source of each number.
void hsdi_acceptance_assume(hsdi_acceptance *out);

/// Chance that the outcome of verifying a window is among n roots: of the draft alone (exit_part
/// 0), or with the early exit at that part of the layers. A deeper exit sees more.
double hsdi_acceptance_coverage(const hsdi_acceptance *a, int window, double n_roots,
                                double exit_part);

/// own and both for windows of so many tokens: between those that were seen, else the nearest.
void hsdi_acceptance_roots(const hsdi_acceptance *a, int window, double own[HSDI_COST_ROWS],
                           double both[HSDI_COST_ROWS]);

/// Chance that a token at which the draft is wrong is among n others of its list, n per row of a
/// tree of n_more tokens beside a chain of `window`.
double hsdi_acceptance_siblings(const hsdi_acceptance *a, int window, int n_more);

/// Depths that nobody saw are like the last one that was; the trail is evaluated.
void hsdi_acceptance_extend(hsdi_acceptance *a);

/// Other shares than the trail's will be set: it no longer counts.
void hsdi_acceptance_forget(hsdi_acceptance *a);

bool hsdi_acceptance_is_trail(const char *text);

/// Chance that a draft is right behind a token at which it was wrong, and behind one at which it
/// was right.
double hsdi_acceptance_starts(const hsdi_acceptance *a);
double hsdi_acceptance_goes_on(const hsdi_acceptance *a);

/// Tokens per step with chains of n drafted tokens: by the trail, else 1 + a_1 + a_1 a_2 + ..
double hsdi_acceptance_tokens(const hsdi_acceptance *a, int n);

#endif
