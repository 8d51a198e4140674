/* test/model/weak.c — memory as C11 orders it, in small. SPDX-License-Identifier: MIT */

#include "weak.h"

#include <string.h>

#include "explore.h"

void weak_init(struct weak_memory *m) {
    for (unsigned i = 0; i < WEAK_CELLS; i++)
        m->cells[i].count = 1;
    for (unsigned i = 0; i < WEAK_THREADS; i++)
        m->threads[i].clock[i] = 1;
}

static void view_join(struct weak_view *view, const struct weak_view *other) {
    for (unsigned i = 0; i < WEAK_CELLS; i++) {
        if (view->from[i] < other->from[i])
            view->from[i] = other->from[i];
    }
    for (unsigned i = 0; i < WEAK_THREADS; i++) {
        if (view->clock[i] < other->clock[i])
            view->clock[i] = other->clock[i];
    }
}

bool weak_load(struct weak_memory *m, unsigned thread, unsigned cell, enum weak_order order,
               unsigned choice, uint8_t *value) {
    struct weak_view *view = &m->threads[thread];
    unsigned index = view->from[cell] + choice;
    if (index >= m->cells[cell].count)
        return false;
    const struct weak_message *message = &m->cells[cell].messages[index];
    *value = message->value;
    view->from[cell] = (uint8_t)index;
    if (order == WEAK_ACQUIRE)
        view_join(view, &message->view);
    return true;
}

/* Every view, wherever it is. */
static void shift_view(struct weak_view *view, unsigned cell, unsigned index, int by) {
    if (view->from[cell] >= index)
        view->from[cell] = (uint8_t)(view->from[cell] + by);
}

/* Messages of the cell from the index on have moved; so does what views say of them. */
static void shift_views(struct weak_memory *m, unsigned cell, unsigned index, int by) {
    for (unsigned i = 0; i < WEAK_THREADS; i++)
        shift_view(&m->threads[i], cell, index, by);
    for (unsigned i = 0; i < WEAK_LOCKS; i++)
        shift_view(&m->locks[i].view, cell, index, by);
    for (unsigned i = 0; i < WEAK_CELLS; i++) {
        for (unsigned k = 0; k < m->cells[i].count; k++)
            shift_view(&m->cells[i].messages[k].view, cell, index, by);
    }
}

/* A message at the index; `carried` is what it carries besides the thread's own. */
static void message_put(struct weak_memory *m, unsigned thread, unsigned cell, unsigned index,
                        enum weak_order order, uint8_t value, const struct weak_view *carried) {
    struct weak_cell *c = &m->cells[cell];
    if (c->count == WEAK_MESSAGES) {
        explore_fail("the model has too few messages");
        return;
    }
    struct weak_message message = {.value = value};
    if (carried)
        message.view = *carried;
    shift_views(m, cell, index, 1);
    memmove(&c->messages[index + 1], &c->messages[index],
            (c->count - index) * sizeof c->messages[0]);
    c->count++;
    struct weak_view *view = &m->threads[thread];
    view->from[cell] = (uint8_t)index;
    if (order == WEAK_RELEASE || order == WEAK_BROKEN) {
        view_join(&message.view, view);
        view->clock[thread]++; /* what comes now is not before the message */
    }
    message.view.from[cell] = (uint8_t)index;
    c->messages[index] = message;
}

bool weak_store(struct weak_memory *m, unsigned thread, unsigned cell, enum weak_order order,
                unsigned choice, uint8_t value) {
    unsigned index = m->cells[cell].count - choice; /* latest first */
    if (choice > m->cells[cell].count || index <= m->threads[thread].from[cell])
        return false;
    message_put(m, thread, cell, index, order, value, NULL);
    return true;
}

uint8_t weak_exchange(struct weak_memory *m, unsigned thread, unsigned cell, enum weak_order order,
                      uint8_t value) {
    unsigned last = m->cells[cell].count - 1u;
    struct weak_message read = m->cells[cell].messages[last];
    m->threads[thread].from[cell] = (uint8_t)last;
    if (order == WEAK_ACQUIRE)
        view_join(&m->threads[thread], &read.view);
    message_put(m, thread, cell, last + 1, order, value, order == WEAK_BROKEN ? NULL : &read.view);
    return read.value;
}

bool weak_compare_exchange(struct weak_memory *m, unsigned thread, unsigned cell,
                           enum weak_order order, uint8_t *expected, uint8_t value) {
    unsigned last = m->cells[cell].count - 1u;
    uint8_t held = m->cells[cell].messages[last].value;
    if (held == *expected) {
        weak_exchange(m, thread, cell, order, value);
        return true;
    }
    *expected = held; /* a relaxed load */
    m->threads[thread].from[cell] = (uint8_t)last;
    return false;
}

uint8_t weak_read(struct weak_memory *m, unsigned thread, unsigned plain) {
    struct weak_plain *p = &m->plains[plain];
    const struct weak_view *view = &m->threads[thread];
    if (p->writer && p->write_clock > view->clock[p->writer - 1])
        explore_fail("a data race: a read beside a write");
    p->read_clock[thread] = view->clock[thread];
    return p->value;
}

void weak_write(struct weak_memory *m, unsigned thread, unsigned plain, uint8_t value) {
    struct weak_plain *p = &m->plains[plain];
    const struct weak_view *view = &m->threads[thread];
    if (p->writer && p->write_clock > view->clock[p->writer - 1])
        explore_fail("a data race: two writes");
    for (unsigned i = 0; i < WEAK_THREADS; i++) {
        if (p->read_clock[i] > view->clock[i])
            explore_fail("a data race: a write beside a read");
    }
    *p = (struct weak_plain){
        .value = value, .writer = (uint8_t)(thread + 1), .write_clock = view->clock[thread]};
}

bool weak_lock_take(struct weak_memory *m, unsigned thread, unsigned lock) {
    if (m->locks[lock].holder)
        return false;
    m->locks[lock].holder = (uint8_t)(thread + 1);
    view_join(&m->threads[thread], &m->locks[lock].view);
    return true;
}

void weak_lock_give(struct weak_memory *m, unsigned thread, unsigned lock) {
    m->locks[lock].holder = 0;
    m->locks[lock].view = m->threads[thread];
    m->threads[thread].clock[thread]++;
}

void weak_join(struct weak_memory *m, unsigned thread, unsigned other) {
    view_join(&m->threads[thread], &m->threads[other]);
}

void weak_forget(struct weak_memory *m) {
    for (unsigned i = 0; i < WEAK_CELLS; i++) {
        struct weak_cell *cell = &m->cells[i];
        unsigned oldest = cell->count;
        for (unsigned t = 0; t < WEAK_THREADS; t++) {
            if (m->threads[t].from[i] < oldest)
                oldest = m->threads[t].from[i];
        }
        for (; oldest > 0; oldest--) {
            memmove(&cell->messages[0], &cell->messages[1],
                    (cell->count - 1u) * sizeof cell->messages[0]);
            cell->count--;
            memset(&cell->messages[cell->count], 0, sizeof cell->messages[0]);
            shift_views(m, i, 1, -1); /* older than all: as good as the oldest there is */
        }
    }
}
