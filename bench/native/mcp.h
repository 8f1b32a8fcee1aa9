/*
 * What mock.c answers as an MCP server (Streamable HTTP, revisions with a session): JSON-RPC read just
 * far enough, fixed answers.
 */
#ifndef VOIDLLM_BENCH_MCP_H
#define VOIDLLM_BENCH_MCP_H

#include "common.h"

struct span {
    const char *at;
    size_t length;
};

/* --- JSON -------------------------------------------------------------------------------- */

static size_t past_space(const char *json, size_t at, size_t length) {
    while (at < length && strchr(" \t\r\n", json[at]) && json[at]) at++;
    return at;
}

/* From an opening quote to behind the closing one. */
static size_t past_string(const char *json, size_t at, size_t length) {
    for (at++; at < length && json[at] != '"'; at++)
        if (json[at] == '\\') at++;
    return at < length ? at + 1 : length;
}

static size_t past_value(const char *json, size_t at, size_t length) {
    size_t depth = 0;
    while (at < length) {
        char byte = json[at];
        if (byte == '"') {
            at = past_string(json, at, length);
            if (!depth) return at;
            continue;
        }
        if (byte == '{' || byte == '[') depth++;
        else if (byte == '}' || byte == ']') {
            if (!depth) return at;
            if (!--depth) return at + 1;
        } else if (!depth && strchr(", \t\r\n", byte)) return at;
        at++;
    }
    return at;
}

/* The value of an object's member; its `at` is NULL when there is none. Give 0 when it is no object. */
static int member(struct span json, const char *name, struct span *value) {
    size_t at = past_space(json.at, 0, json.length), wanted = strlen(name);
    value->at = NULL;
    value->length = 0;
    if (at == json.length || json.at[at] != '{') return 0;
    for (at++;;) {
        at = past_space(json.at, at, json.length);
        if (at < json.length && json.at[at] == '}') return 1;
        if (at == json.length || json.at[at] != '"') return 0;
        size_t key = at + 1;
        at = past_string(json.at, at, json.length);
        size_t key_length = at - 1 - key;
        at = past_space(json.at, at, json.length);
        if (at == json.length || json.at[at] != ':') return 0;
        size_t from = past_space(json.at, at + 1, json.length);
        at = past_value(json.at, from, json.length);
        if (key_length == wanted && !memcmp(json.at + key, name, wanted) && !value->at) {
            value->at = json.at + from;
            value->length = at - from;
        }
        at = past_space(json.at, at, json.length);
        if (at < json.length && json.at[at] == ',') at++;
    }
}

static int span_is(struct span value, const char *text) {
    return value.at && value.length == strlen(text) && !memcmp(value.at, text, value.length);
}

/* --- answers ----------------------------------------------------------------------------- */

#define ID_MOST 128
#define TOOL(name, what) \
    "{\"name\":\"" name "\",\"description\":\"" what "\",\"inputSchema\":{\"type\":\"object\",\"properties\":" \
    "{\"input\":{\"type\":\"string\",\"description\":\"What to work on\"}},\"required\":[\"input\"]}}"

static const char mcp_tools[] =
    "{\"tools\":[" TOOL("mock_tool", "Give a fixed answer") "," TOOL("mock_search", "Find fixed things") ","
    TOOL("mock_get", "Get a fixed thing") "," TOOL("mock_list", "List fixed things") ","
    TOOL("mock_create", "Pretend to make a thing") "]}";
static const char mcp_called[] =
    "{\"content\":[{\"type\":\"text\",\"text\":\"{\\\"status\\\":\\\"ok\\\",\\\"source\\\":\\\"mock\\\"}\"}],"
    "\"isError\":false}";
static const char mcp_accepted[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
static const char mcp_refused[] = "HTTP/1.1 405 Method Not Allowed\r\nAllow: POST\r\nContent-Length: 0\r\n\r\n";

enum mcp_kind { MCP_NOW, MCP_LATER };

/* A whole reply into `to`, which has 4 KiB; `result` is a member with its name. Give its length. */
static size_t mcp_reply(char *to, const char *status, const char *more, struct span id, const char *result) {
    size_t length = strlen("{\"jsonrpc\":\"2.0\",\"id\":,}") + id.length + strlen(result);
    return (size_t)sprintf(to, "HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n"
                           "{\"jsonrpc\":\"2.0\",\"id\":%.*s,%s}", status, more, length, (int)id.length, id.at, result);
}

/* Either the whole reply to a message, or its id in `to` for mcp_result() when a tool is called. */
static enum mcp_kind mcp_answer(struct span message, char *to, size_t *length) {
    static const char session[] = "Mcp-Session-Id: bench-session-001\r\n";
    struct span id, method, params, version, none = {"null", 4};
    char result[3072];
    int object = member(message, "id", &id) && member(message, "method", &method);
    if (!object || id.length > ID_MOST) {
        *length = mcp_reply(to, "400 Bad Request", "", none, "\"error\":{\"code\":-32600,\"message\":\"Invalid Request\"}");
        return MCP_NOW;
    }
    if (!id.at || !method.at) {
        *length = sizeof mcp_accepted - 1;
        memcpy(to, mcp_accepted, *length);
        return MCP_NOW;
    }
    if (span_is(method, "\"tools/call\"")) {
        memcpy(to, id.at, id.length);
        *length = id.length;
        return MCP_LATER;
    }
    if (span_is(method, "\"initialize\"")) {
        if (!member(message, "params", &params) || !params.at || !member(params, "protocolVersion", &version)
            || !version.at || version.length > 32)
            version = (struct span){"\"2025-06-18\"", 12};
        sprintf(result, "\"result\":{\"protocolVersion\":%.*s,\"capabilities\":{\"tools\":{}},"
                "\"serverInfo\":{\"name\":\"bench\",\"version\":\"1\"}}", (int)version.length, version.at);
        *length = mcp_reply(to, "200 OK", session, id, result);
    } else if (span_is(method, "\"tools/list\"")) {
        sprintf(result, "\"result\":%s", mcp_tools);
        *length = mcp_reply(to, "200 OK", "", id, result);
    } else if (span_is(method, "\"ping\"")) {
        *length = mcp_reply(to, "200 OK", "", id, "\"result\":{}");
    } else {
        *length = mcp_reply(to, "200 OK", "", id, "\"error\":{\"code\":-32601,\"message\":\"Method not found\"}");
    }
    return MCP_NOW;
}

static size_t mcp_result(char *to, const char *id, size_t id_length) {
    char result[512];
    sprintf(result, "\"result\":%s", mcp_called);
    return mcp_reply(to, "200 OK", "", (struct span){id, id_length}, result);
}

#endif
