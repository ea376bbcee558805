package admin_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"l4proxy/admin"
)

var update = flag.Bool("update", false, "write docs/openapi.json")

// The document in docs is the one that the API answers with.
func TestOpenAPIDocument(t *testing.T) {
	want, err := admin.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	const file = "../docs/openapi.json"
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is out of date: run go test ./admin -run TestOpenAPIDocument -update", file)
	}
	s := serve(t, "tcp", faraway, withToken)
	code, _, body := s.do(request{method: "GET", path: "/api/v1/openapi.json"})
	var a, b any
	if code != 200 || json.Unmarshal([]byte(body), &a) != nil || json.Unmarshal(want, &b) != nil {
		t.Fatalf("%d %s", code, body)
	}
	if x, y := text(a), text(b); x != y {
		t.Errorf("the answer is\n%s\nwant\n%s", x, y)
	}
}

func text(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}

// openAPI is the document as a library reads it.
var openAPI = sync.OnceValues(func() (any, error) {
	text, err := admin.OpenAPI()
	if err != nil {
		return nil, err
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
})

// at is what a path of keys leads to in a JSON value, nil for nothing.
func at(v any, keys ...string) any {
	for _, key := range keys {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	return v
}

// compiled are the schemas of the document so far, by pointer: compiling one takes a while.
var compiled sync.Map

// compileOnce is compile for the document, which does not change.
func compileOnce(t testing.TB, document any, keys ...string) *jsonschema.Schema {
	t.Helper()
	key := strings.Join(keys, " ")
	if known, ok := compiled.Load(key); ok {
		return known.(*jsonschema.Schema)
	}
	schema := compile(t, document, keys...)
	compiled.Store(key, schema)
	return schema
}

// compile compiles the schema at a path of keys of a document.
func compile(t testing.TB, document any, keys ...string) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	if err := compiler.AddResource("openapi.json", document); err != nil {
		t.Fatal(err)
	}
	pointer := ""
	for _, key := range keys {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
	}
	schema, err := compiler.Compile("openapi.json#" + pointer)
	if err != nil {
		t.Fatalf("%s: %v", pointer, err)
	}
	return schema
}

// shape is the part of OpenAPI 3.1.0 that the document uses, as a JSON schema.
const shape = `{
	"type": "object", "required": ["openapi", "info", "paths"], "additionalProperties": false,
	"properties": {
		"openapi": {"const": "3.1.0"},
		"info": {"type": "object", "required": ["title", "version"], "properties": {"title": {"type": "string"}, "version": {"type": "string"}}},
		"servers": {"type": "array", "items": {"type": "object", "required": ["url"]}},
		"paths": {"patternProperties": {"^/": {
			"propertyNames": {"enum": ["get", "put", "post", "delete", "patch"]},
			"additionalProperties": {"$ref": "#/$defs/operation"}}}, "additionalProperties": false},
		"components": {"type": "object", "properties": {
			"schemas": {"propertyNames": {"pattern": "^[A-Za-z0-9._-]+$"}},
			"securitySchemes": {"additionalProperties": {"required": ["type"], "properties": {"type": {"enum": ["http", "apiKey"]}}}}},
			"additionalProperties": false}
	},
	"$defs": {
		"operation": {
			"type": "object", "required": ["responses"], "additionalProperties": false,
			"properties": {
				"summary": {"type": "string"}, "operationId": {"type": "string", "pattern": "^[a-z][A-Za-z]+$"},
				"security": {"type": "array", "items": {"type": "object", "additionalProperties": {"type": "array"}}},
				"parameters": {"type": "array", "items": {
					"required": ["name", "in", "schema"], "additionalProperties": false,
					"properties": {"name": {"type": "string"}, "in": {"enum": ["path", "query"]}, "required": {"type": "boolean"}, "schema": {"type": "object"}},
					"if": {"properties": {"in": {"const": "path"}}}, "then": {"required": ["required"], "properties": {"required": {"const": true}}}}},
				"requestBody": {"required": ["content"], "properties": {"content": {"$ref": "#/$defs/content"}}, "additionalProperties": false},
				"responses": {"minProperties": 1, "propertyNames": {"pattern": "^([1-5][0-9][0-9]|default)$"},
					"additionalProperties": {"required": ["description"], "additionalProperties": false,
						"properties": {"description": {"type": "string"}, "content": {"$ref": "#/$defs/content"}}}}
			}
		},
		"content": {"minProperties": 1, "propertyNames": {"pattern": "^[a-z]+/[a-z-]+$"},
			"additionalProperties": {"required": ["schema"], "properties": {"schema": {"type": "object"}}}}
	}
}`

// All schemas of the document are schemas, and the document has the shape of OpenAPI 3.1.
func TestOpenAPIIsValid(t *testing.T) {
	document, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	for name := range at(document, "components", "schemas").(map[string]any) {
		compile(t, document, "components", "schemas", name)
	}
	meta, err := jsonschema.UnmarshalJSON(strings.NewReader(shape))
	if err != nil {
		t.Fatal(err)
	}
	if err := compile(t, meta).Validate(document); err != nil {
		t.Error(err)
	}
	ids := make(map[any]bool)
	for path, methods := range at(document, "paths").(map[string]any) {
		for method := range methods.(map[string]any) {
			id := at(methods, method, "operationId")
			if ids[id] {
				t.Errorf("%s %s: operationId %v is repeated", method, path, id)
			}
			ids[id] = true
			if summary, _ := at(methods, method, "summary").(string); !strings.HasSuffix(summary, ".") {
				t.Errorf("%s %s: summary %q", method, path, summary)
			}
		}
	}
}

// conforms holds an answer of a Server against the document: its path and method are there, and its
// body has the schema of its status.
func (s *served) conforms(q request, response *http.Response, body []byte) {
	s.t.Helper()
	document, err := openAPI()
	if err != nil {
		s.t.Fatal(err)
	}
	kind, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	if kind != "application/json" || len(body) == 0 {
		return // of HEAD, metrics or a stream
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		s.t.Errorf("%s %s: %v", q.method, q.path, err)
		return
	}
	keys := []string{"components", "schemas", "Error"}
	path, _, _ := strings.Cut(q.path, "?")
	if known := pattern(document, path); known != "" {
		operation := []string{"paths", known, strings.ToLower(q.method)}
		code := strconv.Itoa(response.StatusCode)
		if at(document, append(operation, "responses", code)...) == nil {
			code = "default"
		}
		if at(document, operation...) != nil {
			keys = append(operation, "responses", code, "content", kind, "schema")
		}
	}
	if at(document, keys...) == nil {
		s.t.Errorf("%s %s: the document has no answer %d", q.method, q.path, response.StatusCode)
		return
	}
	if err := compileOnce(s.t, document, keys...).Validate(value); err != nil {
		s.t.Errorf("%s %s: %d %s: %v", q.method, q.path, response.StatusCode, body, err)
	}
}

// pattern is the path of the document that a path of a request has, "" if there is none.
func pattern(document any, path string) string {
	best := ""
	for known := range at(document, "paths").(map[string]any) {
		want, got := strings.Split(known, "/"), strings.Split(path, "/")
		match := len(want) == len(got)
		for i := 0; match && i < len(want); i++ {
			match = want[i] == got[i] || strings.HasPrefix(want[i], "{") && got[i] != ""
		}
		if match && (best == "" || strings.Contains(best, "{")) {
			best = known
		}
	}
	return best
}

// Each route that answers with JSON conforms, with a value in every field.
func TestAnswersConform(t *testing.T) {
	document, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{
		admin.Status{}, admin.Reload{}, admin.Drain{}, admin.Upgrade{}, admin.Events{}, admin.Event{}, admin.Stats{}, admin.Gap{},
		admin.RunningConfig{}, admin.ConnectionPage{}, admin.Kill{}, admin.Explain{}, admin.Debug{}, admin.DemoBackend{},
	} {
		filled := fill(v)
		text, err := json.Marshal(filled)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		name := typeName(v)
		if err := compile(t, document, "components", "schemas", name).Validate(value); err != nil {
			t.Errorf("%s: %s: %v", name, text, err)
		}
		value.(map[string]any)["unknown"] = 1
		if compile(t, document, "components", "schemas", name).Validate(value) == nil {
			t.Errorf("%s: an unknown field is valid", name)
		}
	}
}
