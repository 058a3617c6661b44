/// A machine as an SVG picture: a panel per host, a card per device, lines between hosts.
///
/// The host of this program is at the left, the others below each other at the right, so that the
/// links from it have a lane of their own; links among the others bow out at the far right.
#include "topology/print.h"

#include "base/error.h"
#include "base/numbers.h"
#include "topology/units.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MARGIN = 24,
    TITLE = 64, ///< height of the picture's title
    LANE = 210, ///< between the columns: links and their labels
    GAP = 14,
    PANEL_HEAD = 58,
    CARD_WIDTH = 268,
    CARD_HEAD = 62,
    BAR_ROW = 18,
    NOTE_ROW = 17,
    MAX_NOTES = 48,
    NOTE_CHARS = 96,
    LEGEND = 44,
};

/// What a card says besides its head and bars.
typedef struct note {
    enum { NOTE_PLAIN, NOTE_SET, NOTE_WORKER, NOTE_LINK, NOTE_BAD } kind;
    char text[NOTE_CHARS];
} note;

typedef struct card {
    int i_device, x, y, height; ///< x, y within the panel
    int n_bars, n_notes;
    note notes[MAX_NOTES];
} card;

typedef struct host_panel {
    int x, y, width, height;
    int n_cards;
    card *cards; ///< [n_cards]
} host_panel;

typedef struct picture {
    const hsdi_machine *machine;
    FILE *out;
    int i_hub;
    int width, height;
    double most_read, most_ops; ///< what a full bar stands for
    host_panel panels[HSDI_MACHINE_HOSTS];
} picture;

static const char *const fills[] = {"#e8f0fb", "#e7f5ea", "#f3eafa", "#fdf1e3", "#f0f0f0"};
static const char *const strokes[] = {"#2f6db5", "#2f8a4c", "#8145b0", "#c47714", "#777777"};

// ---- texts ----

/// Characters of a UTF-8 text.
static int n_chars(const char *text)
{
    int n = 0;
    for (; *text; text++) {
        n += (*text & 0xc0) != 0x80;
    }
    return n;
}

/// At most `max` characters, the last one "…" where there are more; <, & and > as XML wants them.
static void put_escaped(FILE *out, const char *text, int max)
{
    int n = n_chars(text), i = 0;
    for (; *text; text++) {
        i += (*text & 0xc0) != 0x80;
        if (n > max && i >= max) {
            fputs("…", out);
            return;
        }
        switch (*text) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        default:
            fputc(*text, out);
        }
    }
}

static void put_text(const picture *p, int x, int y, const char *class, const char *text, int max)
{
    fprintf(p->out, "<text x=\"%d\" y=\"%d\" class=\"%s\">", x, y, class);
    put_escaped(p->out, text, max);
    fputs("</text>\n", p->out);
}

/// Quantities with " · " between them; what is 0 is left out.
static void append(char *text, size_t cap, const char *before, double value, hsdi_unit unit)
{
    char shown[HSDI_QUANTITY_CHARS];
    size_t n = strlen(text);
    if (value > 0.0) {
        hsdi_quantity_show(value, unit, shown);
        snprintf(text + n, cap - n, "%s%s%s", n > 0 ? " · " : "", before, shown);
    }
}

static void append_text(char *text, size_t cap, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void append_text(char *text, size_t cap, const char *fmt, ...)
{
    size_t n = strlen(text);
    va_list args;
    n += (size_t)snprintf(text + n, cap - n, "%s", n > 0 ? " · " : "");
    va_start(args, fmt);
    if (n < cap) {
        vsnprintf(text + n, cap - n, fmt, args);
    }
    va_end(args);
}

// ---- what cards say ----

static note *add_note(card *c)
{
    return c->n_notes < MAX_NOTES ? &c->notes[c->n_notes++] : &c->notes[MAX_NOTES - 1];
}

static void note_link(const picture *p, card *c, const hsdi_machine_link *l)
{
    const hsdi_machine *m = p->machine;
    bool from = !l->from.is_host && l->from.index == c->i_device,
         to = !l->to.is_host && l->to.index == c->i_device;
    hsdi_machine_end other = from ? l->to : l->from;
    if (from || to) {
        note *n = add_note(c);
        n->kind = NOTE_LINK;
        snprintf(n->text, sizeof n->text, "to %.40s",
                 other.is_host ? m->hosts[other.index].name : m->devices[other.index].name);
        append(n->text, sizeof n->text, "", l->latency_ns, HSDI_UNIT_TIME);
        append(n->text, sizeof n->text, "", l->gbps, HSDI_UNIT_RATE);
    }
}

static void note_other(const picture *p, card *c, int i_device)
{
    const hsdi_machine_device *d = &p->machine->devices[i_device];
    note *n = add_note(c);
    n->kind = NOTE_SET;
    snprintf(n->text, sizeof n->text, "%s", d->name);
    if (d->i_same_as >= 0) {
        append_text(n->text, sizeof n->text, "same chip, %.24s", d->id[0] ? d->id : "no id");
    } else {
        append_text(n->text, sizeof n->text, "%d cores", d->n_units);
    }
    append(n->text, sizeof n->text, "", d->read_gbps, HSDI_UNIT_RATE);
    if (d->is_forbidden) {
        append_text(n->text, sizeof n->text, "forbidden");
    }
}

static void note_roles(const picture *p, card *c)
{
    const hsdi_machine_choices *chosen = &p->machine->choices;
    const struct {
        const char *name;
        int i_device;
    } roles[] = {{"target", chosen->i_target},
                 {"last layers", chosen->i_suffix},
                 {"draft", chosen->i_draft}};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (roles[i].i_device >= 0 &&
            hsdi_print_shown_in(p->machine, roles[i].i_device) == c->i_device) {
            note *n = add_note(c);
            n->kind = NOTE_PLAIN;
            snprintf(n->text, sizeof n->text, "decided: %s on %s", roles[i].name,
                     p->machine->devices[roles[i].i_device].name);
        }
    }
}

static void make_notes(const picture *p, card *c)
{
    const hsdi_machine *m = p->machine;
    const hsdi_machine_device *d = &m->devices[c->i_device];
    if (d->unusable[0] || d->is_forbidden) {
        note *n = add_note(c);
        n->kind = NOTE_BAD;
        snprintf(n->text, sizeof n->text, "%s", d->is_forbidden ? "forbidden" : d->unusable);
    }
    note_roles(p, c);
    for (int i = 0; i < m->n_links; i++) {
        note_link(p, c, &m->links[i]);
    }
    for (int i = 0; i < m->n_devices; i++) {
        if (i != c->i_device && hsdi_print_shown_in(m, i) == c->i_device) {
            note_other(p, c, i);
        }
    }
    for (int i = 0; i < m->n_workers; i++) {
        const hsdi_machine_worker *w = &m->workers[i];
        if (hsdi_print_shown_in(m, w->i_device) == c->i_device) {
            note *n = add_note(c);
            n->kind = NOTE_WORKER;
            snprintf(n->text, sizeof n->text, "worker %.24s · %.50s", w->name, w->endpoint);
        }
    }
    c->n_bars =
        (d->read_gbps > 0.0) + (d->f32_gops > 0.0) + (d->f16_gops > 0.0) + (d->int8_gops > 0.0);
    c->height = CARD_HEAD + c->n_bars * BAR_ROW + c->n_notes * NOTE_ROW +
                (c->n_bars + c->n_notes > 0 ? 8 : 0);
}

// ---- where things are ----

static int ports_height(const hsdi_machine_host *h)
{
    return h->n_ports > 0 ? 26 : 0;
}

/// Cards in rows of n_columns, each row as high as its highest card.
static void place_cards(const picture *p, host_panel *panel, int i_host, int n_columns)
{
    int y = PANEL_HEAD, row_height = 0;
    for (int i = 0; i < panel->n_cards; i++) {
        card *c = &panel->cards[i];
        if (i > 0 && i % n_columns == 0) {
            y += row_height + GAP;
            row_height = 0;
        }
        c->x = GAP + i % n_columns * (CARD_WIDTH + GAP);
        c->y = y;
        row_height = c->height > row_height ? c->height : row_height;
    }
    int n_used = panel->n_cards < n_columns ? panel->n_cards : n_columns;
    panel->width = (n_used > 0 ? n_used : 1) * (CARD_WIDTH + GAP) + GAP;
    panel->height = y + row_height + GAP + ports_height(&p->machine->hosts[i_host]);
}

static bool make_panel(picture *p, int i_host)
{
    const hsdi_machine *m = p->machine;
    host_panel *panel = &p->panels[i_host];
    for (int i = 0; i < m->n_devices; i++) {
        panel->n_cards += m->devices[i].i_host == i_host && hsdi_print_shown_in(m, i) == i;
    }
    panel->cards = calloc((size_t)panel->n_cards + 1, sizeof *panel->cards);
    for (int i = 0, k = 0; i < m->n_devices && panel->cards; i++) {
        if (m->devices[i].i_host == i_host && hsdi_print_shown_in(m, i) == i) {
            panel->cards[k].i_device = i;
            make_notes(p, &panel->cards[k++]);
        }
    }
    int n_columns = m->n_hosts == 1 ? 3 : i_host == p->i_hub ? 1 + (panel->n_cards > 4) : 3;
    if (panel->cards) {
        place_cards(p, panel, i_host, n_columns);
    }
    return panel->cards;
}

static void place_panels(picture *p)
{
    host_panel *hub = &p->panels[p->i_hub];
    int y = TITLE, widest = 0;
    bool bows = false;
    hub->x = MARGIN;
    for (int i = 0; i < p->machine->n_hosts; i++) {
        host_panel *panel = &p->panels[i];
        if (i != p->i_hub) {
            panel->x = MARGIN + hub->width + LANE;
            panel->y = y;
            y += panel->height + 2 * GAP;
            widest = panel->width > widest ? panel->width : widest;
        }
    }
    for (int i = 0; i < p->machine->n_links; i++) {
        const hsdi_machine_link *l = &p->machine->links[i];
        bows |= l->from.is_host && l->to.is_host && l->from.index != l->to.index &&
                l->from.index != p->i_hub && l->to.index != p->i_hub;
    }
    int column = y > TITLE ? y - TITLE - 2 * GAP : 0,
        height = column > hub->height ? column : hub->height;
    hub->y = TITLE + (height - hub->height) / 2;
    p->width = 2 * MARGIN + hub->width + (widest > 0 ? LANE + widest : 0) + (bows ? LANE : 0);
    p->width = p->width > 560 ? p->width : 560;
    p->height = TITLE + height + LEGEND + MARGIN;
}

// ---- drawing ----

static void draw_bar(const picture *p, int x, int y, const char *what, double value, double most,
                     hsdi_unit unit, const char *color)
{
    enum { NAME = 40, LENGTH = 118 };
    char shown[HSDI_QUANTITY_CHARS];
    double length = most > 0.0 ? LENGTH * value / most : 0.0;
    hsdi_quantity_show(value, unit, shown);
    put_text(p, x, y + 11, "small", what, 8);
    fprintf(p->out,
            "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"10\" rx=\"2\" fill=\"#ffffff\" "
            "opacity=\"0.75\"/>\n<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"10\" rx=\"2\" "
            "fill=\"%s\"/>\n",
            x + NAME, y + 2, LENGTH, x + NAME, y + 2, length > 2.0 ? length : 2.0, color);
    put_text(p, x + NAME + LENGTH + 8, y + 11, "small", shown, 16);
}

static int draw_bars(const picture *p, const card *c, int x, int y)
{
    const hsdi_machine_device *d = &p->machine->devices[c->i_device];
    const struct {
        const char *name;
        double value;
    } rates[] = {{"f32", d->f32_gops}, {"f16", d->f16_gops}, {"int8", d->int8_gops}};
    if (d->read_gbps > 0.0) {
        draw_bar(p, x, y, "reads", d->read_gbps, p->most_read, HSDI_UNIT_RATE, "#5b6b7f");
        y += BAR_ROW;
    }
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        if (rates[i].value > 0.0) {
            draw_bar(p, x, y, rates[i].name, rates[i].value, p->most_ops, HSDI_UNIT_OPERATIONS,
                     strokes[d->type]);
            y += BAR_ROW;
        }
    }
    return y;
}

static void draw_note(const picture *p, const note *n, int x, int y, const char *color)
{
    static const char *const classes[] = {"bold", "small", "worker", "small", "bad"};
    static const char *const signs[] = {"", "▸ ", "", "⇄ ", ""};
    int width = CARD_WIDTH - 20;
    char text[NOTE_CHARS + 8];
    snprintf(text, sizeof text, "%s%s", signs[n->kind], n->text);
    if (n->kind == NOTE_WORKER) {
        fprintf(p->out,
                "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"15\" rx=\"3\" fill=\"%s\"/>\n",
                x - 4, y, width + 8, color);
    }
    put_text(p, x, y + 11, classes[n->kind], text, 46);
}

static void draw_card(const picture *p, const host_panel *panel, const card *c)
{
    const hsdi_machine_device *d = &p->machine->devices[c->i_device];
    int x = panel->x + c->x, y = panel->y + c->y;
    bool is_out = d->is_forbidden || d->unusable[0];
    const char *fill = is_out ? "#f4f4f4" : fills[d->type],
               *stroke = is_out ? "#999999" : strokes[d->type];
    char facts[NOTE_CHARS] = "", who[2 * NOTE_CHARS] = "", type[40];
    fprintf(p->out,
            "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"7\" fill=\"%s\" "
            "stroke=\"%s\" stroke-width=\"1.4\"%s/>\n",
            x, y, CARD_WIDTH, c->height, fill, stroke, is_out ? " stroke-dasharray=\"5 3\"" : "");
    put_text(p, x + 10, y + 20, "name", d->name, 28);
    snprintf(type, sizeof type, d->i_numa >= 0 ? "%s, node %d" : "%s", hsdi_print_type(d->type),
             d->i_numa);
    fprintf(p->out, "<text x=\"%d\" y=\"%d\" class=\"type\" fill=\"%s\">%s</text>\n",
            x + CARD_WIDTH - 10, y + 20, stroke, type);
    const char *model = d->model[0] ? d->model : d->driver;
    if (d->id[0] && strcmp(d->id, "cpu") != 0) {
        append_text(who, sizeof who, "%.16s", d->id);
    }
    if (model[0]) {
        append_text(who, sizeof who, "%s", model);
    }
    put_text(p, x + 10, y + 37, "small", who, 42);
    if (d->n_units > 0) {
        append_text(facts, sizeof facts, "%d %s", d->n_units,
                    d->type == HSDI_DEVICE_CPU ? "cores" : "units");
    }
    append(facts, sizeof facts, "", (double)d->memory_bytes, HSDI_UNIT_BYTES);
    append(facts, sizeof facts, "launch ", d->launch_ns, HSDI_UNIT_TIME);
    append(facts, sizeof facts, "", d->busy_w, HSDI_UNIT_POWER);
    put_text(p, x + 10, y + 53, "small", facts, 46);
    y = draw_bars(p, c, x + 10, y + CARD_HEAD);
    for (int i = 0; i < c->n_notes; i++) {
        draw_note(p, &c->notes[i], x + 10, y + i * NOTE_ROW, stroke);
    }
}

static void draw_host(const picture *p, int i_host)
{
    const hsdi_machine_host *h = &p->machine->hosts[i_host];
    const host_panel *panel = &p->panels[i_host];
    char facts[NOTE_CHARS] = "", title[NOTE_CHARS], ports[3 * NOTE_CHARS] = "";
    snprintf(title, sizeof title, "%s%s", h->name, h->is_here ? "  (here)" : "");
    if (h->n_packages > 1) {
        append_text(facts, sizeof facts, "%d packages", h->n_packages);
    }
    if (h->n_cores > 0) {
        append_text(facts, sizeof facts, "%d cores", h->n_cores);
    }
    append(facts, sizeof facts, "", (double)h->memory_bytes, HSDI_UNIT_BYTES);
    append(facts, sizeof facts, "hsd up to ", (double)h->memory_limit_bytes, HSDI_UNIT_BYTES);
    if (h->n_numa > 1) {
        append_text(facts, sizeof facts, "%d NUMA nodes", h->n_numa);
    }
    fprintf(p->out,
            "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"10\" fill=\"#ffffff\" "
            "stroke=\"%s\" stroke-width=\"%s\"/>\n",
            panel->x, panel->y, panel->width, panel->height, h->is_here ? "#333333" : "#a9b2bd",
            h->is_here ? "2" : "1.3");
    put_text(p, panel->x + GAP, panel->y + 25, "host", title, 30);
    put_text(p, panel->x + GAP, panel->y + 44, "small", facts, panel->width / 6);
    for (int i = 0; i < panel->n_cards; i++) {
        draw_card(p, panel, &panel->cards[i]);
    }
    for (int i = 0; i < h->n_ports; i++) {
        append_text(ports, sizeof ports, "%s", h->ports[i].name);
        if (h->ports[i].gbps > 0.0) {
            char rate[HSDI_QUANTITY_CHARS];
            size_t n = strlen(ports);
            hsdi_quantity_show(h->ports[i].gbps, HSDI_UNIT_RATE, rate);
            snprintf(ports + n, sizeof ports - n, " %s", rate);
        }
    }
    put_text(p, panel->x + GAP, panel->y + panel->height - 14, "port", ports, panel->width / 6);
}

/// Thicker for faster: 1 GbE 1.2 pixels, a tenfold rate 1.5 more.
static double line_width(double gbps)
{
    double width = 1.2;
    for (double rate = 0.12; rate < gbps && width < 7.0; rate *= 2.0) {
        width += 0.45;
    }
    return width;
}

/// Links of the hub end at its right side, spread over its height, in the order of the others.
static void draw_link(const picture *p, const hsdi_machine_link *l, int i_lane, int n_lanes)
{
    const host_panel *hub = &p->panels[p->i_hub], *a = &p->panels[l->from.index],
                     *b = &p->panels[l->to.index];
    char label[NOTE_CHARS] = "";
    append(label, sizeof label, "", l->latency_ns, HSDI_UNIT_TIME);
    append(label, sizeof label, "", l->gbps, HSDI_UNIT_RATE);
    if (a != hub && b != hub) {
        int right = a->width > b->width ? a->x + a->width : b->x + b->width;
        int y = a->y + PANEL_HEAD, y_to = b->y + PANEL_HEAD, bow = right + 40 + 14 * (i_lane % 6);
        fprintf(
            p->out,
            "<path d=\"M %d %d C %d %d, %d %d, %d %d\" class=\"link\" stroke-width=\"%.1f\"/>\n",
            a->x + a->width, y, bow, y, bow, y_to, b->x + b->width, y_to, line_width(l->gbps));
        put_text(p, bow - 10, (y + y_to) / 2, "label", label, 30);
        return;
    }
    const host_panel *other = a == hub ? b : a;
    int x = hub->x + hub->width, x_to = other->x,
        y = hub->y + hub->height * (i_lane + 1) / (n_lanes + 1), y_to = other->y + 30;
    fprintf(p->out,
            "<path d=\"M %d %d C %d %d, %d %d, %d %d\" class=\"link\" stroke-width=\"%.1f\"/>\n"
            "<circle cx=\"%d\" cy=\"%d\" r=\"4\" class=\"dot\"/>"
            "<circle cx=\"%d\" cy=\"%d\" r=\"4\" class=\"dot\"/>\n",
            x, y, x + 60, y, x + 30, y_to, x_to, y_to, line_width(l->gbps), x, y, x_to, y_to);
    int y_label = y < y_to ? y_to + 22 : y_to - 12; // on the side that the line does not come from
    fprintf(p->out,
            "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"17\" rx=\"3\" fill=\"#f7f8fa\"/>\n",
            x_to - 152, y_label - 13, n_chars(label) * 6 + 10);
    put_text(p, x_to - 148, y_label, "label", label, 30);
}

static bool is_between_hosts(const hsdi_machine_link *l)
{
    return l->from.is_host && l->to.is_host && l->from.index != l->to.index;
}

static void draw_links(const picture *p)
{
    const hsdi_machine *m = p->machine;
    int n_hub = 0, i_hub = 0, i_other = 0;
    for (int i = 0; i < m->n_links; i++) {
        const hsdi_machine_link *l = &m->links[i];
        n_hub += is_between_hosts(l) && (l->from.index == p->i_hub || l->to.index == p->i_hub);
    }
    // From the top down, so that lines do not cross.
    for (int host = 0; host < m->n_hosts; host++) {
        for (int i = 0; i < m->n_links; i++) {
            const hsdi_machine_link *l = &m->links[i];
            bool at_hub = l->from.index == p->i_hub || l->to.index == p->i_hub;
            int i_far = l->from.index == p->i_hub ? l->to.index : l->from.index;
            if (is_between_hosts(l) && i_far == host) {
                draw_link(p, l, at_hub ? i_hub++ : i_other++, n_hub);
            }
        }
    }
}

static void draw_head(const picture *p)
{
    const hsdi_machine *m = p->machine;
    char facts[2 * NOTE_CHARS] = "";
    fprintf(p->out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\" font-family=\"DejaVu Sans, Verdana, sans-serif\">\n"
            "<style>.title{font-size:20px;font-weight:bold;fill:#222}"
            ".host{font-size:15px;font-weight:bold;fill:#222}"
            ".name{font-size:13px;font-weight:bold;fill:#222}"
            ".type{font-size:11px;text-anchor:end;font-weight:bold}"
            ".small{font-size:10.5px;fill:#333}.bold{font-size:10.5px;font-weight:bold;fill:#222}"
            ".bad{font-size:10.5px;fill:#b02020}.worker{font-size:10.5px;fill:#fff}"
            ".port{font-size:10.5px;fill:#667}.label{font-size:11px;fill:#222}"
            ".link{fill:none;stroke:#6b7a8c}.dot{fill:#6b7a8c}</style>\n"
            "<rect width=\"%d\" height=\"%d\" fill=\"#f7f8fa\"/>\n",
            p->width, p->height, p->width, p->height, p->width, p->height);
    for (int i = 0; i < m->n_links; i++) {
        const hsdi_machine_link *l = &m->links[i];
        if (l->from.is_host && l->to.is_host && l->from.index == l->to.index) {
            append_text(facts, sizeof facts, "between processes of %.40s",
                        m->hosts[l->from.index].name);
            append(facts, sizeof facts, "", l->latency_ns, HSDI_UNIT_TIME);
            append(facts, sizeof facts, "", l->gbps, HSDI_UNIT_RATE);
        }
    }
    put_text(p, MARGIN, 34, "title", m->name[0] ? m->name : "machine", 60);
    put_text(p, MARGIN, 53, "small", facts, p->width / 6);
}

static void draw_legend(const picture *p)
{
    char bars[2 * NOTE_CHARS] = "";
    int x = MARGIN, y = p->height - LEGEND + 8;
    for (int type = HSDI_DEVICE_CPU; type <= HSDI_DEVICE_ACCELERATOR; type++) {
        const char *name = hsdi_print_type((hsdi_device_type)type);
        fprintf(p->out,
                "<rect x=\"%d\" y=\"%d\" width=\"14\" height=\"12\" rx=\"3\" fill=\"%s\" "
                "stroke=\"%s\"/>\n",
                x, y, fills[type], strokes[type]);
        put_text(p, x + 20, y + 10, "small", name, 20);
        x += 40 + 7 * (int)strlen(name);
    }
    append(bars, sizeof bars, "full bars: reads ", p->most_read, HSDI_UNIT_RATE);
    append(bars, sizeof bars, "computes ", p->most_ops, HSDI_UNIT_OPERATIONS);
    put_text(p, x + 10, y + 10, "small", bars[0] ? bars : "nothing is measured", 80);
}

static void draw(picture *p)
{
    draw_head(p);
    for (int i = 0; i < p->machine->n_hosts; i++) {
        draw_host(p, i);
    }
    draw_links(p);
    draw_legend(p);
    fputs("</svg>\n", p->out);
}

static bool prepare(picture *p)
{
    const hsdi_machine *m = p->machine;
    bool good = true;
    for (int i = m->n_hosts - 1; i >= 0; i--) {
        p->i_hub = m->hosts[i].is_here ? i : p->i_hub;
    }
    for (int i = 0; i < m->n_devices; i++) {
        const hsdi_machine_device *d = &m->devices[i];
        const double ops[] = {d->f32_gops, d->f16_gops, d->int8_gops};
        p->most_read = d->read_gbps > p->most_read ? d->read_gbps : p->most_read;
        for (int k = 0; k < 3; k++) {
            p->most_ops = ops[k] > p->most_ops ? ops[k] : p->most_ops;
        }
    }
    for (int i = 0; i < m->n_hosts; i++) {
        good = make_panel(p, i) && good;
    }
    if (good) {
        place_panels(p);
    }
    return good;
}

hsd_status hsdi_print_picture(const hsdi_machine *machine, char **text, hsd_error *err)
{
    size_t n = 0;
    *text = NULL;
    hsd_status status = hsdi_machine_check(machine, err);
    if (status != HSD_OK) {
        return status;
    }
    picture *p = calloc(1, sizeof *p);
    bool good = p;
    if (p) {
        p->machine = machine;
        good = prepare(p) && (p->out = open_memstream(text, &n));
        if (good) {
            hsdi_numbers before = hsdi_numbers_plain();
            draw(p);
            hsdi_numbers_back(before);
            good = fclose(p->out) == 0;
        }
        for (int i = 0; i < machine->n_hosts; i++) {
            free(p->panels[i].cards);
        }
    }
    free(p);
    return good ? HSD_OK : hsdi_fail(err, HSD_ENOMEM, "machine", "picture");
}
