/* The exchange between a target and its draft workers: docs/protocol.md as a model for spin.
 *
 * One process per side, frames in bounded queues, tokens of one bit. What target_workers.c decides
 * by clocks (deadlines, retries, how often a worker may be late) and by measurement (which offer
 * leads) is a free choice here, so that every clock and every measurement is covered. Texts and
 * windows are numbers in binary behind a leading 1: 1 is empty, 6 is the tokens 1, 0. Fields named
 * ghost are no part of a frame: they say what only an observer of both sides can know.
 *
 * README.md beside it: the claims, the bounds, the mutants. run.sh checks all of it.
 */

/* Bounds; run.sh sets them. */
#ifndef WORKERS
#define WORKERS 1
#endif
#ifndef GENERATIONS
#define GENERATIONS 2
#endif
#ifndef TOKENS      /* of a generation */
#define TOKENS 3
#endif
#ifndef LENGTH      /* tokens of a window, 1..2 */
#define LENGTH 2
#endif
#ifndef FAULTS      /* deaths, lost frames and junk, together */
#define FAULTS 2
#endif
#ifndef QUEUE       /* frames to a worker */
#define QUEUE 3
#endif
#ifndef BACK        /* frames to the target */
#define BACK 2
#endif
#ifndef FAILURES    /* that a worker may have in one generation */
#define FAILURES 1
#endif
#ifndef CALM        /* from this step on no fault happens, and deadlines are long enough */
#define CALM 99
#endif
#ifndef RETURN      /* steps after which a worker must be in use again */
#define RETURN 99
#endif
#ifndef PAUSES      /* 1: the target may go alone, and tell nothing meanwhile */
#define PAUSES 0
#endif
#ifndef TRACES      /* 1: the target has a trace, for which workers record a span of every OPEN and
                       STEP, and compares clocks; one worker */
#define TRACES 0
#endif
/* A check that is left out; nothing is left out by default. */
#define NOTHING 0
#define TARGET_EPOCH 1  /* the target takes windows of other epochs */
#define WORKER_EPOCH 2  /* the worker takes frames of other epochs */
#define STEP_NUMBER 3   /* the worker takes STEP and COMMIT in any order */
#define FIT 4           /* the target does not compare a window's beginning with the text */
#define DEADLINE 5      /* the target waits for windows as long as it takes */
#define VERIFY 6        /* the target accepts whole windows */
#define LOSS_COUNTS 7   /* a worker that was started again counts as one that failed */
#define REFUSED_OFFER 8 /* the last window of a refused worker is kept */
#define SPAN_NUMBER 9   /* the target takes spans for which it did not ask, whatever they begin with */
#define SPAN_EPOCH 10   /* it takes spans that begin where it asks, of any epoch */
#ifndef WITHOUT
#define WITHOUT NOTHING
#endif

mtype = { HELLO, WELCOME, OPEN, STEP, COMMIT, ALONE, WINDOW, UNKNOWN, ORDER, VOCABULARY, CLOSE };
#if TRACES
mtype = { CLOCK_, TIME, RECORD, GIVE, FORGET, SPANS }; /* CLOCK is taken; RECORD, GIVE, FORGET: TRACE */
#endif

/* type, epoch, step, window or row and next, n_committed, text or ghost text */
chan to_worker[WORKERS] = [QUEUE] of { mtype, byte, byte, byte, byte, short };
chan to_target[WORKERS] = [BACK] of { mtype, byte, byte, byte, byte, short };

#define CALLING 0
#define READY 1
#define OPENED 2
#define REFUSED 3

typedef helper {
    byte state;
    byte epoch;
    bit is_awaited;
    bit has_answered;
    bit has_served;    /* a window came since it was opened */
    byte n_failures;
    byte n_ghost;      /* failures that should count */
    byte n_told;       /* length of the text that it was told; kept with PAUSES only */
    byte offer;        /* 1: none */
    short offer_ghost; /* the text that it continues */
};
helper peers[WORKERS];

short text;   /* committed, the prompt's token included */
byte n_text;
byte step;
byte n_faults;
bit is_calm;
bit is_finished;
bit is_busy[WORKERS]; /* has something to send, if it lives */
bit is_expired, is_waiting;
#if TRACES
byte spans_next;        /* number of the span to ask for next */
bit is_giving, is_timed;/* answers are awaited */
byte asked;             /* which of the CLOCKs is */
#endif

inline set_length(out, tokens)
{
    out = 0;
    do
    :: (tokens >> (out + 1)) == 0 -> break
    :: else -> out++
    od
}

inline clear_offer(i)
{
    peers[i].offer = 1;
    peers[i].offer_ghost = 0;
}

/* The text goes on with `token`: what of the offer still fits? */
inline follow(i, token)
{
    if
    :: peers[i].offer == 1 -> skip
    :: else ->
        set_length(n_offer, peers[i].offer);
        first = (peers[i].offer >> (n_offer - 1)) & 1;
        if
        :: first == token || WITHOUT == FIT ->
            peers[i].offer = (1 << (n_offer - 1)) | (peers[i].offer & ((1 << (n_offer - 1)) - 1));
            peers[i].offer_ghost = (peers[i].offer_ghost << 1) | first
        :: else -> clear_offer(i)
        fi;
        if
        :: peers[i].offer == 1 -> clear_offer(i)
        :: else
        fi
    fi
}

inline lose(i)
{
    peers[i].state = CALLING;
    peers[i].is_awaited = 0;
    peers[i].has_answered = 0;
    peers[i].has_served = 0;
    clear_offer(i)
}

inline refuse(i)
{
    peers[i].state = REFUSED;
    peers[i].is_awaited = 0;
    peers[i].has_answered = 0;
    peers[i].has_served = 0;
    if
    :: WITHOUT == REFUSED_OFFER
    :: else -> clear_offer(i)
    fi
}

/* The target sends a frame of a session. A full queue is noticed; a frame lost on the way is not. */
inline tell(i, type, what, n, ghost)
{
    if
    :: nfull(to_worker[i]) -> to_worker[i]!type(peers[i].epoch, step, what, n, ghost)
    :: full(to_worker[i]) -> lose(i)
    :: n_faults < FAULTS && !is_calm -> n_faults++
    fi
}

#if TRACES
/* Frames for the trace: a full queue is as good as a loss. */
inline tell_trace(i, type, what)
{
    if
    :: nfull(to_worker[i]) -> to_worker[i]!type(peers[i].epoch, 0, what, 0, 0)
    :: full(to_worker[i])
    :: n_faults < FAULTS && !is_calm -> n_faults++
    fi
}

inline on_time(what)
{
    if
    :: is_timed && what == asked -> is_timed = 0
    :: else -> skip
    fi
}

/* from, next, is_last, and as a ghost how many spans the worker had recorded in all by then, as
 * the number that the last of them would have. */
inline on_spans(asked_epoch, from, what, last, ghost)
{
    if
    :: is_giving && (from == spans_next || WITHOUT == SPAN_NUMBER) &&
       (asked_epoch == peers[0].epoch || WITHOUT >= SPAN_NUMBER) ->
        assert(from == spans_next); /* nothing twice, and nothing left out */
        spans_next = what;
        is_giving = 0;
        /* All there was is given, in an order of its recording. */
        assert(!last || ghost == spans_next);
        if
        :: !last -> is_giving = 1; tell_trace(0, GIVE, spans_next)
        :: else
        fi
    :: else -> skip
    fi
}
#endif

inline open_session(i, awaited)
{
    peers[i].epoch++;
    peers[i].state = OPENED;
    peers[i].is_awaited = awaited;
    peers[i].has_answered = 0;
    peers[i].has_served = 0;
    clear_offer(i);
    peers[i].n_told = PAUSES * n_text;
    tell(i, OPEN, 1, n_text, text)
}

inline on_window(i, of_step, window, n, ghost)
{
    if
    :: n > n_text -> skip
    :: else ->
        peers[i].has_served = 1;
        peers[i].is_awaited = peers[i].is_awaited || of_step + 1 >= step;
        is_now = of_step == step && n == n_text;
        peers[i].has_answered = peers[i].has_answered || is_now;
        if
        :: is_now || peers[i].offer == 1 -> is_taken = 1
        :: else -> /* mode async takes every window */
            if
            :: is_taken = 1
            :: is_taken = 0
            fi
        fi;
        if
        :: is_taken ->
            peers[i].offer = window;
            peers[i].offer_ghost = ghost;
            n_new = n_text - n;
            do
            :: n_new > 0 && peers[i].offer > 1 ->
                follow(i, ((text >> (n_new - 1)) & 1));
                n_new--
            :: else -> break
            od;
            n_new = 0
        :: else
        fi;
        is_now = 0;
        is_taken = 0
    fi
}

/* A worker that forgot a session which it served was started again. */
inline on_error(i, code)
{
    is_taken = code == ORDER || !peers[i].has_served;
    peers[i].n_ghost = peers[i].n_ghost + is_taken;
    is_taken = is_taken || WITHOUT == LOSS_COUNTS;
    lose(i);
    if
    :: is_taken && peers[i].n_failures == FAILURES ->
        assert(peers[i].n_ghost > FAILURES);
        refuse(i)
    :: else -> peers[i].n_failures = peers[i].n_failures + is_taken
    fi;
    is_taken = 0
}

/* One frame of worker i, if there is one. */
inline receive(i)
{
    to_target[i]?type, f_epoch, f_step, f_what, f_n, f_text;
    is_current = peers[i].state == OPENED &&
                 (f_epoch == peers[i].epoch || (WITHOUT == TARGET_EPOCH && type == WINDOW));
    if
    :: peers[i].state == REFUSED -> skip
    :: else ->
        if
        :: type == WELCOME && peers[i].state == CALLING ->
#if TRACES
            tell_trace(i, RECORD, spans_next);
#endif
            open_session(i, 0)
#if TRACES
        :: type == TIME -> on_time(f_what)
        :: type == SPANS -> on_spans(f_epoch, f_step, f_what, f_n, f_text)
#endif
        :: type == WINDOW && is_current -> on_window(i, f_step, f_what, f_n, f_text)
        :: type == UNKNOWN && is_current -> on_error(i, UNKNOWN)
        :: type == ORDER && is_current -> on_error(i, ORDER)
        :: type == VOCABULARY -> refuse(i)
        :: else -> skip
        fi
    fi;
    type = 0; f_epoch = 0; f_step = 0; f_what = 0; f_n = 0; f_text = 0; is_current = 0
}

#define IS_PENDING(i) (peers[i].state == OPENED && peers[i].is_awaited && !peers[i].has_answered)
#define IS_QUIET(i) (empty(to_worker[i]) && empty(to_target[i]) && !is_busy[i])
#if WORKERS == 2
#define IS_ANY_PENDING (IS_PENDING(0) || IS_PENDING(1))
#define ARE_QUIET (IS_QUIET(0) && IS_QUIET(1))
#else
#define IS_ANY_PENDING IS_PENDING(0)
#define ARE_QUIET IS_QUIET(0)
#endif

#ifdef CLOCK /* a deadline is a process of its own, and workers may flood the target */
#define IS_PASSED is_expired
#define MAY_LOOK !is_expired
proctype clock()
{
end:
    do
    :: atomic { is_waiting && !is_expired -> is_expired = 1 }
    od
}
#else
#define IS_PASSED 1
#define MAY_LOOK 1
#endif

/* HELLO to whom nothing else is told; when it is due is the clock's choice. */
inline call(i)
{
    if
    :: peers[i].state == CALLING && nfull(to_worker[i]) ->
        to_worker[i]!HELLO(peers[i].epoch, 0, 0, 0, 0)
    :: peers[i].state != CALLING || !is_calm -> skip
    fi
}

inline count_late(i)
{
    if
    :: IS_PENDING(i) && !is_calm -> lose(i)
    :: skip
    fi
}

/* Windows of this step, until they are there or the deadline has passed. */
inline collect()
{
    atomic {
        is_waiting = 1;
        i = 0;
        do
        :: i < WORKERS ->
            peers[i].has_answered = 0;
            call(i);
            i++
        :: else -> break
        od;
        i = 0
    }
    do
    :: atomic { MAY_LOOK && nempty(to_target[0]) -> receive(0) }
#if WORKERS == 2
    :: atomic { MAY_LOOK && nempty(to_target[1]) -> receive(1) }
#endif
    :: !IS_ANY_PENDING && (!is_calm || ARE_QUIET) -> break
#if WITHOUT != DEADLINE
    :: atomic { IS_PASSED && (!is_calm || ARE_QUIET) ->
        count_late(0);
#if WORKERS == 2
        count_late(1);
#endif
        break }
#endif
    od;
    is_waiting = 0;
    is_expired = 0
}

/* window and n_window of one of the offers, or nothing. */
inline choose()
{
    window = 1;
    if
    :: peers[0].offer > 1 -> window = peers[0].offer; assert(peers[0].offer_ghost == text)
#if WORKERS == 2
    :: peers[1].offer > 1 -> window = peers[1].offer; assert(peers[1].offer_ghost == text)
#endif
    :: !is_calm || peers[0].offer == 1
    fi;
    set_length(n_window, window);
    if /* the end of the text cuts it */
    :: n_window > TOKENS - n_out - 1 ->
        window = window >> (n_window - (TOKENS - n_out - 1));
        n_window = TOKENS - n_out - 1
    :: else
    fi;
    /* A worker that lives is used again, some steps after the last fault. */
    assert(step < CALM + RETURN || window > 1 || peers[0].state == REFUSED ||
           TOKENS - n_out - 1 == 0)
}

/* What the target decides, token by token, is a free choice: truth. It keeps of the window what is
 * equal: row tokens, and next behind them. */
inline verify()
{
    truth = text;
    row = 0;
    do
    :: next = 0; break
    :: next = 1; break
    od;
    do
    :: row < n_window && (next == ((window >> (n_window - row - 1)) & 1) || WITHOUT == VERIFY) ->
        truth = (truth << 1) | next;
        row++;
        if
        :: next = 0
        :: next = 1
        fi
    :: else -> break
    od;
    truth = (truth << 1) | next
}

inline tell_all(type, what, n, ghost)
{
    i = 0;
    do
    :: i < WORKERS ->
        if
        :: peers[i].state == OPENED -> tell(i, type, what, n, ghost)
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

/* Passes of which nothing was told, to every worker that knows the text before them. The step in
 * the frame is that of the first. */
inline tell_alone()
{
    i = 0;
    do
    :: i < WORKERS ->
        if
        :: peers[i].state == OPENED ->
            k = n_text - peers[i].n_told;
            peers[i].n_told = n_text;
            step = step - k;
            tell(i, ALONE, (1 << k) | (text & ((1 << k) - 1)), n_text, text);
            step = step + k
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0; k = 0
}

inline note_told()
{
    i = 0;
    do
    :: i < WORKERS -> peers[i].n_told = PAUSES * n_text; i++
    :: else -> break
    od;
    i = 0
}

/* Afterwards windows may be wanted, or not. */
inline decide()
{
    was_alone = is_alone;
    if
    :: is_alone = 0
    :: PAUSES && !is_calm -> is_alone = 1
    fi
}

inline commit()
{
    k = 0;
    do
    :: k < row -> /* row tokens of the window, one by one, then next */
        first = (window >> (n_window - k - 1)) & 1;
        text = (text << 1) | first;
        k++
    :: else -> break
    od;
    text = (text << 1) | next;
    n_text = n_text + row + 1;
    n_out = n_out + row + 1;
    assert(text == truth);
    decide();
    if
    :: n_out < TOKENS && !was_alone -> tell_all(COMMIT, row * 2 + next, n_text, text); note_told()
    :: else
    fi;
    step++;
    if
    :: n_out < TOKENS && was_alone && !is_alone -> tell_alone()
    :: else
    fi;
    was_alone = 0;
    is_calm = step >= CALM;
    i = 0;
    do
    :: i < WORKERS ->
        k = row + 1;
        do
        :: k > 0 -> k--; follow(i, ((text >> k) & 1))
        :: else -> break
        od;
        i++
    :: else -> break
    od;
    i = 0; k = 0; first = 0; n_offer = 0; truth = 0; row = 0; next = 0; window = 0; n_window = 0
}

inline begin_generation()
{
    text = 2 | (generation & 1); /* two prompts of one token */
    n_text = 1;
    n_out = 0;
    step = 0;
    is_alone = 0;
    i = 0;
    do
    :: i < WORKERS ->
        peers[i].n_failures = 0;
        peers[i].n_ghost = 0;
        if
        :: peers[i].state == OPENED || peers[i].state == READY ->
#if TRACES
            tell_trace(i, RECORD, spans_next);
#endif
            open_session(i, 1)
        :: peers[i].state == REFUSED -> peers[i].state = CALLING /* mended, or another by now */
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

#if TRACES
/* Behind a generation: clocks, then spans, both until the time is over. */
inline take_spans()
{
    atomic {
        if
        :: peers[0].state == OPENED ->
            asked = 1 - asked;
            is_timed = 1;
            tell_trace(0, CLOCK_, asked)
        :: else
        fi
    }
    do
    :: atomic { nempty(to_target[0]) -> receive(0) }
    :: !is_timed -> break
    :: is_timed = 0; break
    od;
    atomic {
        if
        :: peers[0].state == OPENED -> is_giving = 1; tell_trace(0, GIVE, spans_next)
        :: else
        fi
    }
    do
    :: atomic { nempty(to_target[0]) -> receive(0) }
    :: !is_giving -> break
    :: is_giving = 0; break /* also at once: the caller stopped the generation */
    od
}
#endif

proctype target()
{
    byte i, k, generation, n_out, n_offer, n_new, first, window, n_window, row, next;
    byte f_epoch, f_step, f_what, f_n;
    short f_text, truth;
    bit is_now, is_taken, is_current, is_alone, was_alone;
    mtype type;

    atomic {
        do /* the first handshake */
        :: i < WORKERS ->
            clear_offer(i);
            if
            :: peers[i].state = READY
            :: peers[i].state = CALLING
            fi;
            i++
        :: else -> break
        od;
        i = 0
    }
    do
    :: generation < GENERATIONS ->
        atomic { begin_generation() }
        do
        :: n_out < TOKENS ->
            if
            :: n_out < TOKENS - 1 -> collect() /* alone too: signs of life */
            :: else
            fi;
            atomic {
                if
                :: is_alone -> window = 1; n_window = 0
                :: else -> choose(); tell_all(STEP, window, 0, text)
                fi
            }
            atomic { verify(); commit() }
        :: n_out == TOKENS -> break
        :: n_out > 0 && CALM == 99 -> break /* the caller stops it */
        od;
#if TRACES
        take_spans();
#endif
        generation++
    :: else -> break
    od;
    atomic {
#if TRACES
        tell_trace(0, FORGET, 0);
#endif
        tell_all(CLOSE, 0, 0, 0);
        is_finished = 1
    }
}

/* A worker's frame is lost when the queue is full. */
inline answer(type, w_epoch, of_step, what, n, ghost)
{
    if
    :: nfull(to_target[id]) -> to_target[id]!type(w_epoch, of_step, what, n, ghost)
    :: full(to_target[id])
    :: n_faults < FAULTS && !is_calm -> n_faults++
    fi
}

inline forget()
{
    is_open = 0; epoch = 0; at = 0; w_text = 0; w_n = 0; offered = 0; is_stepped = 0;
    is_busy[id] = 0
}

/* Is the frame one of the session's, and the one that is due? Answers if not. */
inline check(is_due)
{
    if
    :: !is_open || (epoch != f_epoch && WITHOUT != WORKER_EPOCH) ->
        is_good = 0;
        answer(UNKNOWN, f_epoch, 0, 0, 0, 0)
    :: else ->
        is_good = is_due || WITHOUT == STEP_NUMBER;
        if
        :: is_good
        :: else -> answer(ORDER, epoch, 0, 0, 0, 0); forget()
        fi
    fi
}

#if !TRACES
#define record_span() skip
#else
inline record_span()
{
    n_spans = n_spans + is_recording;
    n_ghost = n_ghost + is_recording
}

inline on_record(what)
{
    if
    :: is_recording -> skip /* its target goes on */
    :: else ->
        is_recording = 1;
        n_ghost = what;
        n_spans = what
    fi
}

/* From a number on: what there is, or a part of it. Who does not record says that it is all, and
 * that is not compared: what the target warns of. */
inline on_give(from)
{
    if
    :: !is_recording -> answer(SPANS, f_epoch, from, from, 1, from)
    :: else ->
        n_given = (n_spans > from -> n_spans : from);
        if
        :: answer(SPANS, f_epoch, from, n_given, 1, n_ghost)
        :: n_spans > from + 1 -> answer(SPANS, f_epoch, from, from + 1, 0, n_ghost)
        :: answer(SPANS, f_epoch, from, from, 0, n_ghost) /* looked at enough in this turn */
        fi;
        n_given = 0
    fi
}
#endif

inline on_step()
{
    check(f_step == at && !is_stepped);
    if
    :: is_good ->
        assert(f_text == w_text); /* both mean the same pass */
        offered = f_what;
        is_stepped = 1;
        is_busy[id] = 0
    :: else
    fi
}

inline on_commit()
{
    set_length(n_offered, offered);
    check(is_stepped && f_step == at && f_what / 2 <= n_offered && f_n == w_n + f_what / 2 + 1);
    if
    :: is_good ->
        w_text = (w_text << (f_what / 2)) |
                 ((offered >> (n_offered - f_what / 2)) & ((1 << (f_what / 2)) - 1));
        w_text = (w_text << 1) | (f_what & 1);
        w_n = f_n;
        assert(w_text == f_text); /* the worker knows the target's text */
        at = f_step + 1;
        offered = 1;
        is_stepped = 0;
        is_busy[id] = 1
    :: else
    fi
}

inline on_alone()
{
    set_length(n_offered, f_what);
    check(f_step == at && !is_stepped && f_n == w_n + n_offered);
    if
    :: is_good ->
        w_text = (w_text << n_offered) | (f_what & ((1 << n_offered) - 1));
        w_n = f_n;
        assert(w_text == f_text);
        at = f_step + n_offered;
        offered = 1;
        is_busy[id] = 1
    :: else
    fi
}

proctype worker(byte id)
{
    bit is_open, is_stepped, is_good, is_other;
    byte epoch, at, w_n, offered, n_offered;
#if TRACES
    bit is_recording;
    byte n_spans, n_given, n_ghost; /* the number of the next span; n_ghost: as it should be */
#endif
    short w_text;
    byte f_epoch, f_step, f_what, f_n;
    short f_text;
    mtype type;

end:
    do
    :: atomic { to_worker[id]?type, f_epoch, f_step, f_what, f_n, f_text ->
        if
        :: type == HELLO -> answer(WELCOME, f_epoch, 0, 0, 0, 0)
#if TRACES
        :: type == CLOCK_ -> answer(TIME, 0, 0, f_what, 0, 0)
        :: type == RECORD -> on_record(f_what)
        :: type == GIVE -> on_give(f_what)
        :: type == FORGET -> is_recording = 0; n_spans = 0; n_ghost = 0
#endif
#if TRACES
        :: is_other && (type == OPEN || type == STEP || type == COMMIT) ->
            answer(VOCABULARY, f_epoch, 0, 0, 0, 0)
#else
        :: is_other && type != HELLO && type != CLOSE -> answer(VOCABULARY, f_epoch, 0, 0, 0, 0)
#endif
        :: !is_other && type == OPEN ->
            is_open = 1;
            epoch = f_epoch; at = f_step; w_text = f_text; w_n = f_n;
            offered = 1; is_stepped = 0; is_busy[id] = 1;
            record_span()
        :: !is_other && type == STEP -> on_step(); record_span()
        :: !is_other && type == COMMIT -> on_commit()
        :: !is_other && type == ALONE -> on_alone()
        :: type == CLOSE -> forget()
        fi;
        type = 0; f_epoch = 0; f_step = 0; f_what = 0; f_n = 0; f_text = 0; is_good = 0;
        n_offered = 0 }
    /* The draft's answer. Its first token is called 1: what the target says to it is free. */
    :: atomic { is_busy[id] ->
        if
        :: offered == 1 && LENGTH == 2 && !is_calm -> offered = 3 /* mode async: what is there */
        :: offered = 3; is_busy[id] = 0
#if LENGTH == 2
        :: offered = 6; is_busy[id] = 0
        :: offered = 7; is_busy[id] = 0
#endif
        fi;
        answer(WINDOW, epoch, at, offered, w_n, w_text) }
    /* Dies and is started again, perhaps as another program, which refuses whatever it is told, and
     * at once; what was queued may be lost. */
    :: atomic { n_faults < FAULTS && !is_calm ->
        n_faults++;
        forget();
#if TRACES
        is_recording = 0; n_spans = 0; n_ghost = 0;
#endif
        do
        :: nempty(to_worker[id]) -> to_worker[id]?_, _, _, _, _, _
        :: break
        od;
        if
        :: is_other = 0
        :: CALM == 99 -> is_other = 1; answer(VOCABULARY, 0, 0, 0, 0, 0)
        fi }
#if TRACES
    /* The target was silent for too long between generations: session and trace are forgotten. */
    :: atomic { n_faults < FAULTS && !is_calm && is_open ->
        n_faults++;
        forget();
        is_recording = 0; n_spans = 0; n_ghost = 0 }
#endif
    /* Dies for good, or stops for ever. */
    :: atomic { n_faults < FAULTS && CALM == 99 -> n_faults++; forget(); goto end_dead }
#ifdef CLOCK
    /* Floods the target with frames that mean nothing. */
    :: atomic { nfull(to_target[id]) -> to_target[id]!ORDER(0, 0, 0, 0, 0) }
#endif
    od;
end_dead:
    false
}

init
{
    atomic {
        run target();
        run worker(0);
#if WORKERS == 2
        run worker(1);
#endif
#ifdef CLOCK
        run clock();
#endif
    }
}

ltl finishes { <> is_finished }
