/* The messages and their wrappings, protocol by protocol. Each message begins with its number, so that a lost, doubled
   or misplaced one shows. */
#define _GNU_SOURCE
#include "wsbench.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = 8 };

static char *payload; /* what has to come back, but for its number */
static size_t payload_size, payload_units;
static uint8_t *frames; /* `depth` times the frame to send */
static size_t frame_size, frame_digits;
static char *form; /* `depth` times the message, as the body of a POST */
static size_t form_size, form_start, form_step, form_digits;

/* UTF-16 code units of UTF-8. */
static size_t units(const char *text, size_t size)
{
    size_t count = 0;
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)text[i];
        count += (byte & 0xc0) == 0x80 ? 0 : byte >= 0xf0 ? 2 : 1;
    }
    return count;
}

static const char *number_text(uint64_t number)
{
    static char text[DIGITS];
    static uint64_t last = UINT64_MAX;
    for (int i = DIGITS; number != last && i-- > 0;) {
        uint64_t rest = number;
        for (int k = i; k < DIGITS - 1; k++)
            rest /= 10;
        text[i] = (char)('0' + rest % 10);
    }
    last = number;
    return text;
}

static void make_payload(void)
{
    static const char *const characters[][2] = {
        {"ascii", "a"}, {"latin", "\xc3\xa9"}, {"bmp", "\xe6\xbc\xa2"}, {"astral", "\xf0\x9f\x98\x80"}};
    const char *character = NULL;
    for (size_t i = 0; i < sizeof characters / sizeof *characters; i++)
        if (strcmp(options.charset, characters[i][0]) == 0)
            character = characters[i][1];
    if (!character || options.size < DIGITS)
        give_up("--charset is ascii, latin, bmp or astral, --size %d or more", DIGITS);
    payload_size = (size_t)options.size;
    payload = allocate(payload_size + 1);
    memset(payload, '0', DIGITS);
    size_t at = DIGITS, width = strlen(character);
    for (; width > 1 && at + width <= payload_size; at += width)
        memcpy(payload + at, character, width);
    for (; at < payload_size; at++)
        payload[at] = (char)('a' + at % 26);
    payload_units = units(payload, payload_size);
}

/* What is sent: for a fan-out it asks for that, with "b:" in front. */
static char *wrapped(size_t *size)
{
    const char *command = options.mode == FANOUT || options.mode == STREAM ? "b:" : "";
    char *text = allocate(payload_size + 64);
    switch (options.profile) {
    case SIO06:
        *size = (size_t)sprintf(text, "~m~%zu~m~%s%s", strlen(command) + payload_units, command, payload);
        break;
    case SIO4:
        *size = (size_t)sprintf(text, "42[\"message\",\"%s%s\"]", command, payload);
        break;
    case SOCKJS:
        *size = (size_t)sprintf(text, "[\"%s%s\"]", command, payload);
        break;
    case RAW:
        *size = (size_t)sprintf(text, "%s%s", command, payload);
    }
    return text;
}

static size_t percent_encode(char *out, const char *text, size_t size)
{
    size_t length = 0;
    for (size_t i = 0; i < size; i++)
        if (isalnum((unsigned char)text[i]) || strchr("~-_.", text[i]))
            out[length++] = text[i];
        else
            length += (size_t)sprintf(out + length, "%%%02X", (unsigned char)text[i]);
    return length;
}

void messages_start(void)
{
    make_payload();
    size_t size, depth = (size_t)options.depth;
    char *text = wrapped(&size);
    const char *digits = memmem(text, size, payload, DIGITS);
    size_t before = (size_t)(digits - text);

    frames = allocate((size + 16) * depth);
    frame_size = write_frame(frames, TEXT_FRAME, text, size, true);
    frame_digits = frame_size - size + before - (options.hixie ? 1 : 0);
    for (size_t i = 1; i < depth; i++)
        memcpy(frames + i * frame_size, frames, frame_size);

    form = allocate(3 * size * depth + 8);
    form_start = (size_t)sprintf(form, "data=");
    form_step = percent_encode(form + form_start, text, size);
    form_digits = percent_encode(form + form_start, text, before);
    form_size = form_start;
    for (size_t i = 0; i < depth; i++)
        form_size += percent_encode(form + form_size, text, size);
    free(text);
}

/* The body of a POST with `depth` messages, from a number on. */
const char *write_form(uint64_t first, size_t *size)
{
    for (size_t i = 0; i < (size_t)options.depth; i++)
        memcpy(form + form_start + i * form_step + form_digits, number_text(first + i), DIGITS);
    *size = form_size;
    return form;
}

/* Send up to `depth` messages in one write. */
void send_messages(Connection *c, int count, uint64_t first)
{
    static size_t position = SIZE_MAX; /* of the digits in the message, for the mask */
    if (position == SIZE_MAX) {
        size_t size;
        char *text = wrapped(&size);
        position = frame_digits - (frame_size - size - (options.hixie ? 1 : 0));
        free(text);
    }
    for (int i = 0; i < count; i++) {
        const char *text = number_text(first + (uint64_t)i);
        uint8_t *digits = frames + (size_t)i * frame_size + frame_digits;
        for (size_t k = 0; k < DIGITS; k++)
            digits[k] = (uint8_t)text[k] ^ mask_of(position + k);
    }
    send_bytes(c, frames, (size_t)count * frame_size);
}

/* -- What comes ---------------------------------------------------------------------------------------------------- */

static void check(Connection *c, const uint8_t *text, size_t size)
{
    arrived(c, size == payload_size && memcmp(text, number_text(c->got), DIGITS) == 0 &&
                   memcmp(text + DIGITS, payload + DIGITS, size - DIGITS) == 0);
}

static void answer_heartbeat(Connection *c, const void *text, size_t size)
{
    c->heartbeats++;
    if (c->protocol == &websocket_protocol)
        send_frame(c, TEXT_FRAME, text, size);
}

/* A payload may carry many frames: all that was sent to a connection at a time. */
void unwrap_sio06(Connection *c, const uint8_t *text, size_t size)
{
    size_t at = 0;
    while (at < size) {
        size_t start = at + 3, count = 0;
        while (start < size && isdigit(text[start]))
            count = count * 10 + text[start++] - '0';
        start += 3;
        /* As many units as our own payload are that, or wrong; anything else is a heartbeat, in ASCII. */
        size_t length = count == payload_units ? payload_size : count;
        if (start > size || length > size - start || memcmp(text + at, "~m~", 3) ||
            memcmp(text + start - 3, "~m~", 3)) {
            run.bad++;
            return;
        }
        if (count != payload_units && length > 3 && memcmp(text + start, "~h~", 3) == 0)
            answer_heartbeat(c, text + at, start + length - at);
        else
            check(c, text + start, length);
        at = start + length;
    }
}

static void unwrap_sio4(Connection *c, const uint8_t *text, size_t size)
{
    static const char before[] = "42[\"message\",\"", after[] = "\"]";
    size_t extra = sizeof before + sizeof after - 2;
    if (size == 1 && text[0] == '2')
        answer_heartbeat(c, "3", 1);
    else if (size > extra && memcmp(text, before, sizeof before - 1) == 0 && memcmp(text + size - 2, after, 2) == 0)
        check(c, text + sizeof before - 1, size - extra);
    else
        run.bad++;
}

static void unwrap_sockjs(Connection *c, const uint8_t *text, size_t size)
{
    if (size == 1 && text[0] == 'h')
        return;
    if (size < 5 || memcmp(text, "a[\"", 3) || memcmp(text + size - 2, "\"]", 2)) {
        run.bad++;
        return;
    }
    const uint8_t *at = text + 3, *end = text + size - 2, *mark;
    while ((mark = memmem(at, (size_t)(end - at), "\",\"", 3))) {
        check(c, at, (size_t)(mark - at));
        at = mark + 3;
    }
    check(c, at, (size_t)(end - at));
}

void unwrap(Connection *c, const uint8_t *text, size_t size)
{
    switch (options.profile) {
    case SIO06:
        unwrap_sio06(c, text, size);
        break;
    case SIO4:
        unwrap_sio4(c, text, size);
        break;
    case SOCKJS:
        unwrap_sockjs(c, text, size);
        break;
    case RAW:
        check(c, text, size);
    }
}

/* Whether with this message the connection is open. */
bool is_greeting(Connection *c, const uint8_t *text, size_t size)
{
    switch (options.profile) {
    case SIO06:
        return size > 3 && memcmp(text, "~m~", 3) == 0;
    case SIO4:
        if (size && text[0] == '0')
            send_frame(c, TEXT_FRAME, "40", 2);
        return size > 1 && memcmp(text, "40", 2) == 0;
    case SOCKJS:
        return size && text[0] == 'o';
    case RAW:
        break;
    }
    return false;
}
