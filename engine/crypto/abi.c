/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/abi.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/digest.h"

enum { WORD = 32, TYPES = 512 };

struct parse {
    struct arena *a;
    const struct abi_def *defs;
    size_t ndefs;
    struct err *e;
    const char *p, *end;
    bool in_struct; /* fields of structs are not nested tuples */
    int *left;      /* types that may still be made: structs of structs multiply */
};

static struct abi_type *parse_type(struct parse *s, int depth);

static struct abi_type *refuse(struct parse *s)
{
    ERR(s->e, ERR_INVALID, "not a type that the ABI knows");
    return NULL;
}

static struct abi_type *make(struct arena *a, enum abi_kind kind, size_t size)
{
    struct abi_type *t = arena_alloc(a, sizeof *t);
    t->kind = kind;
    t->size = size;
    t->dynamic = kind == ABI_BYTES || kind == ABI_STRING;
    t->head = WORD;
    return t;
}

struct abi_type *abi_tuple(struct arena *a, struct abi_type **fields, size_t n)
{
    struct abi_type *t = make(a, ABI_TUPLE, 0);
    t->fields = fields;
    t->nfields = n;
    size_t head = 0;
    for (size_t i = 0; i < n; i++) {
        t->dynamic |= fields[i]->dynamic;
        head += fields[i]->head;
    }
    t->head = t->dynamic ? WORD : head;
    return t;
}

/* Decimal without leading zeros; 0 for what is not a number up to max. */
static size_t number(const char *p, size_t n, size_t max)
{
    size_t v = 0;
    if (n < 1 || n > 5 || p[0] == '0')
        return 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return 0;
        v = v * 10 + (size_t)(p[i] - '0');
    }
    return v <= max ? v : 0;
}

static struct abi_type *plain(struct parse *s, struct str w)
{
    static const struct {
        const char *name;
        enum abi_kind kind;
    } whole[] = {
        {"address", ABI_ADDRESS}, {"bool", ABI_BOOL}, {"bytes", ABI_BYTES}, {"string", ABI_STRING}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++)
        if (str_eqz(w, whole[i].name))
            return make(s->a, whole[i].kind, 0);
    bool u = str_starts(w, "uint");
    if (u || str_starts(w, "int")) {
        size_t skip = u ? 4 : 3, bits = number(w.p + skip, w.n - skip, 256);
        return bits && bits % 8 == 0 ? make(s->a, u ? ABI_UINT : ABI_INT, bits) : refuse(s);
    }
    if (str_starts(w, "bytes")) {
        size_t n = number(w.p + 5, w.n - 5, 32);
        return n ? make(s->a, ABI_FIXED, n) : refuse(s);
    }
    return refuse(s);
}

/* ---- structs of typed data ---- */

static const struct abi_def *find(const struct parse *s, struct str name)
{
    for (size_t i = 0; i < s->ndefs; i++)
        if (str_eq(s->defs[i].name, name))
            return &s->defs[i];
    return NULL;
}

static struct str base_of(struct str type)
{
    const char *b = type.n ? memchr(type.p, '[', type.n) : NULL;
    return (struct str){type.p, b ? (size_t)(b - type.p) : type.n};
}

/* Adds def and what it refers to, once each. */
static void collect(const struct parse *s, const struct abi_def *def, const struct abi_def **list,
                    size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        if (list[i] == def)
            return;
    list[(*n)++] = def;
    for (size_t i = 0; i < def->nfields; i++) {
        const struct abi_def *d = find(s, base_of(def->fields[i].type));
        if (d)
            collect(s, d, list, n);
    }
}

static int by_name(const void *x, const void *y)
{
    struct str a = (*(const struct abi_def *const *)x)->name,
               b = (*(const struct abi_def *const *)y)->name;
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static void type_hash(const struct parse *s, const struct abi_def *def, uint8_t out[32])
{
    const struct abi_def **list = arena_alloc(s->a, (s->ndefs + 1) * sizeof *list);
    size_t n = 0;
    struct buf b = {0};
    collect(s, def, list, &n);
    qsort(list + 1, n - 1, sizeof *list, by_name);
    for (size_t i = 0; i < n; i++) {
        buf_put(&b, list[i]->name.p, list[i]->name.n);
        for (size_t k = 0; k < list[i]->nfields; k++) {
            buf_puts(&b, k ? "," : "(");
            buf_put(&b, list[i]->fields[k].type.p, list[i]->fields[k].type.n);
            buf_puts(&b, " ");
            buf_put(&b, list[i]->fields[k].name.p, list[i]->fields[k].name.n);
        }
        buf_puts(&b, ")");
    }
    digest_keccak256(b.p, b.n, out);
    buf_fini(&b);
}

static bool is_name(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' ||
              (i && c >= '0' && c <= '9')))
            return false;
    }
    return s.n > 0 && s.n <= 64;
}

static struct abi_type *parse_struct(struct parse *s, const struct abi_def *def, int depth)
{
    if (def->nfields < 1 || def->nfields > ABI_FIELDS || !is_name(def->name))
        return refuse(s);
    struct abi_type **f = arena_alloc(s->a, def->nfields * sizeof *f);
    struct str *names = arena_alloc(s->a, def->nfields * sizeof *names);
    for (size_t i = 0; i < def->nfields; i++) {
        struct str text = def->fields[i].type;
        struct parse inner = *s;
        inner.p = text.p;
        inner.end = text.p + text.n;
        inner.in_struct = true;
        names[i] = def->fields[i].name;
        if (!is_name(names[i]) || !(f[i] = parse_type(&inner, depth + 1)))
            return refuse(s);
        if (inner.p != inner.end)
            return refuse(s);
    }
    struct abi_type *t = abi_tuple(s->a, f, def->nfields);
    t->names = names;
    type_hash(s, def, t->hash);
    return t;
}

/* ---- types ---- */

static struct abi_type *parse_tuple(struct parse *s, int depth)
{
    struct abi_type *fields[ABI_FIELDS];
    size_t n = 0;
    do {
        s->p++; /* ( or , */
        if (n == ABI_FIELDS || !(fields[n++] = parse_type(s, depth + 1)))
            return refuse(s);
    } while (s->p < s->end && *s->p == ',');
    if (s->p == s->end || *s->p++ != ')')
        return refuse(s);
    struct abi_type **kept = arena_alloc(s->a, n * sizeof *kept);
    memcpy(kept, fields, n * sizeof *kept);
    return abi_tuple(s->a, kept, n);
}

static struct abi_type *parse_array(struct parse *s, struct abi_type *of)
{
    const char *from = ++s->p;
    while (s->p < s->end && *s->p != ']')
        s->p++;
    if (s->p == s->end)
        return refuse(s);
    size_t digits = (size_t)(s->p++ - from), len = number(from, digits, 1024);
    if (digits && (!len || len * of->head > ABI_DATA_MAX))
        return refuse(s);
    struct abi_type *t = make(s->a, ABI_ARRAY, len);
    t->fields = arena_alloc(s->a, sizeof *t->fields);
    t->fields[0] = of;
    t->nfields = 1;
    t->dynamic = !len || of->dynamic;
    t->head = t->dynamic ? WORD : len * of->head;
    return t;
}

static struct abi_type *parse_type(struct parse *s, int depth)
{
    struct abi_type *t;
    if (depth > ABI_DEPTH || s->p == s->end || --*s->left < 0)
        return refuse(s);
    if (*s->p == '(' && !s->in_struct) {
        t = parse_tuple(s, depth);
    } else {
        const char *from = s->p;
        while (s->p < s->end && !memchr("(),[]", *s->p, 5))
            s->p++;
        struct str word = {from, (size_t)(s->p - from)};
        const struct abi_def *def = find(s, word);
        t = def ? parse_struct(s, def, depth) : plain(s, word);
    }
    for (int n = depth; t && s->p < s->end && *s->p == '['; n++)
        t = n < ABI_DEPTH ? parse_array(s, t) : refuse(s);
    return t;
}

struct abi_type *abi_type(struct arena *a, struct str text, const struct abi_def *defs,
                          size_t ndefs, struct err *e)
{
    int left = TYPES;
    struct parse s = {.a = a, .defs = defs, .ndefs = ndefs, .e = e, .left = &left};
    s.p = text.p;
    s.end = text.p + text.n;
    struct abi_type *t = text.n ? parse_type(&s, 0) : refuse(&s);
    return t && s.p == s.end ? t : refuse(&s);
}

struct abi_type *abi_signature(struct arena *a, struct str sig, struct err *e)
{
    const char *open = sig.n ? memchr(sig.p, '(', sig.n) : NULL;
    struct str args = {open, open ? sig.n - (size_t)(open - sig.p) : 0};
    if (!open || !is_name((struct str){sig.p, (size_t)(open - sig.p)})) {
        ERR(e, ERR_INVALID, "a signature looks like name(type,type)");
        return NULL;
    }
    if (str_eqz(args, "()"))
        return abi_tuple(a, NULL, 0);
    struct abi_type *t = abi_type(a, args, NULL, 0, e);
    if (t && t->kind == ABI_ARRAY) {
        ERR(e, ERR_INVALID, "a signature looks like name(type,type)");
        return NULL;
    }
    return t;
}

/* ---- encoding ---- */

static void put_number(struct buf *b, size_t n)
{
    uint8_t w[WORD] = {0};
    for (int i = 0; i < 8; i++)
        w[WORD - 1 - i] = (uint8_t)((uint64_t)n >> 8 * i);
    buf_put(b, w, WORD);
}

static void put_data(struct str data, struct buf *out)
{
    static const char zeros[WORD];
    put_number(out, data.n);
    buf_put(out, data.p, data.n);
    buf_put(out, zeros, (WORD - data.n % WORD) % WORD);
}

static const struct abi_type *field(const struct abi_type *t, size_t i)
{
    return t->kind == ABI_ARRAY ? t->fields[0] : t->fields[i];
}

/* Heads, then tails: a dynamic item's head is where its tail begins, counted from the first head. */
static void put_items(const struct abi_type *t, const struct abi_value *v, struct buf *out)
{
    struct buf tails = {0};
    size_t heads = 0;
    for (size_t i = 0; i < v->n; i++)
        heads += field(t, i)->head;
    for (size_t i = 0; i < v->n; i++) {
        if (field(t, i)->dynamic) {
            put_number(out, heads + tails.n);
            abi_encode(field(t, i), &v->items[i], &tails);
        } else {
            abi_encode(field(t, i), &v->items[i], out);
        }
    }
    buf_put(out, tails.p ? tails.p : "", tails.n);
    buf_fini(&tails);
}

void abi_encode(const struct abi_type *t, const struct abi_value *v, struct buf *out)
{
    if (t->kind == ABI_BYTES || t->kind == ABI_STRING) {
        put_data(v->data, out);
    } else if (t->kind == ABI_ARRAY || t->kind == ABI_TUPLE) {
        if (t->kind == ABI_ARRAY && !t->size)
            put_number(out, v->n);
        put_items(t, v, out);
    } else {
        buf_put(out, v->word, WORD);
    }
}

/* ---- decoding ---- */

static bool all(const uint8_t *p, size_t n, uint8_t what)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != what)
            return false;
    return true;
}

bool abi_word_valid(const struct abi_type *t, const uint8_t w[32])
{
    size_t used = t->size / 8;
    switch (t->kind) {
    case ABI_UINT: return all(w, WORD - used, 0);
    case ABI_INT: return all(w, WORD - used, w[WORD - used] & 0x80 ? 0xff : 0);
    case ABI_ADDRESS: return all(w, 12, 0);
    case ABI_BOOL: return all(w, 31, 0) && w[31] <= 1;
    case ABI_FIXED: return all(w + t->size, WORD - t->size, 0);
    default: return false;
    }
}

struct read {
    struct arena *a;
    struct err *e;
};

static int bad(struct read *r, const char *what)
{
    return ERR(r->e, ERR_INVALID, "not an ABI encoding: %s", what);
}

/* A length or offset: the first word of data, at most data's own size. */
static int get_number(struct read *r, struct str data, size_t *out)
{
    uint64_t v = 0;
    if (data.n < WORD)
        return bad(r, "it is cut off");
    for (int i = 24; i < WORD; i++)
        v = v << 8 | (uint8_t)data.p[i];
    if (!all((const uint8_t *)data.p, 24, 0) || v > ABI_DATA_MAX)
        return bad(r, "a length is out of range");
    *out = (size_t)v;
    return 0;
}

static struct str from(struct str s, size_t at)
{
    return (struct str){s.p + at, s.n - at};
}

static int get(struct read *r, const struct abi_type *t, struct str *data, struct abi_value *v);

static int get_data(struct read *r, const struct abi_type *t, struct str *data, struct abi_value *v)
{
    size_t n;
    if (get_number(r, *data, &n) < 0)
        return -1;
    size_t padded = (n + WORD - 1) / WORD * WORD;
    if (data->n - WORD < padded)
        return bad(r, "it is cut off");
    v->data = (struct str){data->p + WORD, n};
    if (!all((const uint8_t *)data->p + WORD + n, padded - n, 0))
        return bad(r, "padding is not zero");
    if (t->kind == ABI_STRING && !str_is_utf8(v->data))
        return bad(r, "a text is not UTF-8");
    *data = from(*data, WORD + padded);
    return 0;
}

/* data: from the first head; left over after it is what lies behind the last tail. */
static int get_items(struct read *r, const struct abi_type *t, struct str *data,
                     struct abi_value *v)
{
    size_t heads = 0;
    for (size_t i = 0; i < v->n; i++)
        heads += field(t, i)->head;
    if (heads > data->n)
        return bad(r, "it is cut off");
    v->items = arena_alloc(r->a, v->n * sizeof *v->items + 1);
    struct str head = {data->p, heads}, tail = from(*data, heads);
    for (size_t i = 0; i < v->n; i++) {
        size_t at;
        if (!field(t, i)->dynamic) {
            if (get(r, field(t, i), &head, &v->items[i]) < 0)
                return -1;
            continue;
        }
        if (get_number(r, head, &at) < 0)
            return -1;
        if (at != (size_t)(tail.p - data->p))
            return bad(r, "an offset is not where it belongs");
        head = from(head, WORD);
        if (get(r, field(t, i), &tail, &v->items[i]) < 0)
            return -1;
    }
    *data = tail;
    return 0;
}

static int get_array(struct read *r, const struct abi_type *t, struct str *data,
                     struct abi_value *v)
{
    v->n = t->size;
    if (!t->size) {
        if (get_number(r, *data, &v->n) < 0)
            return -1;
        *data = from(*data, WORD);
        if (v->n > data->n / t->fields[0]->head)
            return bad(r, "it is cut off");
    }
    return get_items(r, t, data, v);
}

/* Reads one value from the front of data and moves data behind it. */
static int get(struct read *r, const struct abi_type *t, struct str *data, struct abi_value *v)
{
    if (t->kind == ABI_BYTES || t->kind == ABI_STRING)
        return get_data(r, t, data, v);
    if (t->kind == ABI_ARRAY)
        return get_array(r, t, data, v);
    if (t->kind == ABI_TUPLE) {
        v->n = t->nfields;
        return get_items(r, t, data, v);
    }
    if (data->n < WORD)
        return bad(r, "it is cut off");
    memcpy(v->word, data->p, WORD);
    *data = from(*data, WORD);
    return abi_word_valid(t, v->word) ? 0 : bad(r, "a value is out of range");
}

int abi_decode(struct arena *a, const struct abi_type *t, struct str data, struct abi_value *out,
               struct err *e)
{
    struct read r = {a, e};
    if (data.n > ABI_DATA_MAX)
        return bad(&r, "it is too long");
    if (get(&r, t, &data, out) < 0)
        return -1;
    return data.n ? bad(&r, "more follows") : 0;
}

/* ---- hashing ---- */

static void hash_part(const struct abi_type *t, const struct abi_value *v, uint8_t out[32]);

static void hash_items(const struct abi_type *t, const struct abi_value *v, uint8_t out[32])
{
    struct buf b = {0};
    uint8_t part[32];
    if (t->kind == ABI_TUPLE)
        buf_put(&b, t->hash, 32);
    for (size_t i = 0; i < v->n; i++) {
        hash_part(field(t, i), &v->items[i], part);
        buf_put(&b, part, 32);
    }
    digest_keccak256(b.p ? b.p : "", b.n, out);
    buf_fini(&b);
}

static void hash_part(const struct abi_type *t, const struct abi_value *v, uint8_t out[32])
{
    if (t->kind == ABI_BYTES || t->kind == ABI_STRING)
        digest_keccak256(v->data.p, v->data.n, out);
    else if (t->kind == ABI_ARRAY || t->kind == ABI_TUPLE)
        hash_items(t, v, out);
    else
        memcpy(out, v->word, WORD);
}

void abi_struct_hash(const struct abi_type *t, const struct abi_value *v, uint8_t out[32])
{
    must(t->kind == ABI_TUPLE && t->names);
    hash_items(t, v, out);
}
