package admin

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// jsonObject is a JSON object of the OpenAPI document.
type jsonObject map[string]any

// OpenAPI returns the OpenAPI 3.1 document of the API. It is made of the table of routes and of the
// Go types, so that it cannot say anything else than the code does. docs/openapi.json is a copy.
func OpenAPI() ([]byte, error) {
	text, err := json.MarshalIndent(openAPI(routes), "", "  ")
	return append(text, '\n'), err
}

func (s *Server) openAPI(c *call) error {
	text, err := s.document()
	if err != nil {
		return err
	}
	c.reply(http.StatusOK, json.RawMessage(text))
	return nil
}

func openAPI(routes []route) jsonObject {
	d := &document{schemas: jsonObject{}}
	paths := jsonObject{}
	for i := range routes {
		r := &routes[i]
		path, _ := paths[r.pattern].(jsonObject)
		if path == nil {
			path = jsonObject{}
			paths[r.pattern] = path
		}
		path[strings.ToLower(r.method)] = d.operation(r)
	}
	return jsonObject{
		"openapi": "3.1.0",
		"info": jsonObject{"title": "l4proxy admin API", "version": "1",
			"description": "Names are stable: fields are added, never renamed. docs/api.md explains the requests."},
		"servers": []any{jsonObject{"url": "/"}},
		"paths":   paths,
		"components": jsonObject{
			"schemas":         d.schemas,
			"securitySchemes": jsonObject{"token": jsonObject{"type": "http", "scheme": "bearer"}},
		},
	}
}

// document collects the schemas of named types.
type document struct{ schemas jsonObject }

var pathParameter = regexp.MustCompile(`\{([a-z]+)\}`)

// operation describes a route.
func (d *document) operation(r *route) jsonObject {
	o := jsonObject{"summary": r.summary, "operationId": operationID(r)}
	if r.open {
		o["security"] = []any{}
	} else { // a loopback address needs no token for reading, and often not at all
		o["security"] = []any{jsonObject{}, jsonObject{"token": []any{}}}
	}
	var parameters []any
	for _, m := range pathParameter.FindAllStringSubmatch(r.pattern, -1) {
		parameters = append(parameters, jsonObject{"name": m[1], "in": "path", "required": true, "schema": jsonObject{"type": "string"}})
	}
	if r.request != nil && r.query {
		parameters = append(parameters, d.queryParameters(reflect.TypeOf(r.request))...)
	}
	if parameters != nil {
		o["parameters"] = parameters
	}
	if r.request != nil && r.changes() {
		o["requestBody"] = jsonObject{"content": content("application/json", d.schema(reflect.TypeOf(r.request)))}
	}
	o["responses"] = d.responses(r)
	return o
}

// operationID is a word for an operation: getListenersByListener.
func operationID(r *route) string {
	id := strings.ToLower(r.method)
	for _, part := range strings.Split(strings.TrimPrefix(r.pattern, "/api/v1"), "/") {
		part = strings.TrimSuffix(part, ".json")
		if name, ok := strings.CutPrefix(part, "{"); ok {
			part = "by" + capital(strings.TrimSuffix(name, "}"))
		}
		id += capital(part)
	}
	return id
}

func capital(word string) string {
	if word == "" {
		return ""
	}
	return strings.ToUpper(word[:1]) + word[1:]
}

// queryParameters are the fields of a request that a query may have.
func (d *document) queryParameters(t reflect.Type) (all []any) {
	for _, f := range jsonFields(t) {
		if f.Type == reflect.TypeFor[*Guard]() {
			all = append(all, jsonObject{"name": jsonName(f), "in": "query", "schema": jsonObject{"type": "boolean"}})
			continue
		}
		all = append(all, jsonObject{"name": jsonName(f), "in": "query", "schema": d.schema(f.Type)})
	}
	return all
}

// responses are the answers of a route. Each request can be refused.
func (d *document) responses(r *route) jsonObject {
	all := jsonObject{"default": jsonObject{"description": "The request was refused, or failed.",
		"content": content("application/json", d.schema(reflect.TypeFor[Error]()))}}
	of := content("text/plain", jsonObject{"type": "string"})
	if r.answer != nil {
		of = content("application/json", d.schema(reflect.TypeOf(r.answer)))
	}
	if reflect.TypeOf(r.answer) == reflect.TypeFor[Events]() {
		for _, t := range []reflect.Type{reflect.TypeFor[Event](), reflect.TypeFor[Stats](), reflect.TypeFor[Gap]()} {
			d.schema(t) // of the messages of a stream
		}
		of[streamType] = jsonObject{"schema": jsonObject{"type": "string",
			"description": "Messages named event (Event, with its id), stats (Stats), history (a list of Stats) and gap (Gap)."}}
	}
	if _, ok := r.statuses[http.StatusAccepted]; !ok {
		all["200"] = jsonObject{"description": "Success.", "content": of}
	}
	for _, code := range slices.Sorted(maps.Keys(r.statuses)) {
		if code == http.StatusServiceUnavailable && r.pattern == "/healthz" {
			all[strconv.Itoa(code)] = jsonObject{"description": r.statuses[code], "content": content("application/json", d.schema(reflect.TypeFor[Error]()))}
			continue
		}
		all[strconv.Itoa(code)] = jsonObject{"description": r.statuses[code], "content": of}
	}
	return all
}

func content(kind string, schema jsonObject) jsonObject {
	return jsonObject{kind: jsonObject{"schema": schema}}
}

// special are the types whose JSON their Go type does not show.
var special = map[reflect.Type]jsonObject{
	reflect.TypeFor[time.Time]():       {"type": "string", "format": "date-time"},
	reflect.TypeFor[Duration]():        {"type": "string", "description": "A duration such as 1m30s."},
	reflect.TypeFor[Prefix]():          {"type": "string", "description": "A prefix such as 10.0.0.0/8, or an address."},
	reflect.TypeFor[netip.Prefix]():    {"type": "string", "description": "A prefix such as 10.0.0.0/8."},
	reflect.TypeFor[json.RawMessage](): {"type": "object"},
	reflect.TypeFor[Weight](): {"oneOf": []any{
		jsonObject{"type": "integer", "minimum": 1, "maximum": MaxWeight}, jsonObject{"const": configuredWord}}},
}

// schema is the schema of a type: a reference for a struct.
func (d *document) schema(t reflect.Type) jsonObject {
	if s, ok := special[t]; ok {
		return s
	}
	switch t.Kind() {
	case reflect.Pointer:
		s := d.schema(t.Elem())
		if t.Elem() == reflect.TypeFor[Guard]() { // true stands for the defaults
			return jsonObject{"oneOf": []any{s, jsonObject{"const": true}}}
		}
		return s
	case reflect.Struct:
		name := capital(t.Name())
		if d.schemas[name] == nil {
			d.schemas[name] = jsonObject{} // it may contain itself
			d.schemas[name] = d.object(t)
		}
		return jsonObject{"$ref": "#/components/schemas/" + name}
	case reflect.Slice:
		s := jsonObject{"type": "array", "items": d.schema(t.Elem())}
		return s
	case reflect.Map:
		return jsonObject{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.String:
		return jsonObject{"type": "string"}
	case reflect.Bool:
		return jsonObject{"type": "boolean"}
	case reflect.Float64:
		return jsonObject{"type": "number"}
	case reflect.Uint32, reflect.Uint64:
		return jsonObject{"type": "integer", "minimum": 0}
	case reflect.Interface:
		return jsonObject{}
	}
	return jsonObject{"type": "integer"}
}

// object describes a struct. It has no other fields; those that may be left out are not required.
func (d *document) object(t reflect.Type) jsonObject {
	properties := jsonObject{}
	required := []string{}
	for _, f := range jsonFields(t) {
		name := jsonName(f)
		properties[name] = d.schema(f.Type)
		if _, options, _ := strings.Cut(f.Tag.Get("json"), ","); options == "" {
			required = append(required, name)
		}
	}
	slices.Sort(required)
	o := jsonObject{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// jsonFields are the fields of a struct that JSON has, those of embedded ones included.
func jsonFields(t reflect.Type) (all []reflect.StructField) {
	for _, f := range reflect.VisibleFields(t) {
		if name := jsonName(f); name != "" && name != "-" {
			all = append(all, f)
		}
	}
	return all
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
