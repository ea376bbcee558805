package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func loadSchema(t *testing.T) map[string]any {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	return schema
}

// The schema has exactly the keys that the decoder accepts, each described.
func TestSchemaKeys(t *testing.T) {
	s := loadSchema(t)
	if got, want := s["$schema"], "https://json-schema.org/draft/2020-12/schema"; got != want {
		t.Errorf("$schema is %v, want %s", got, want)
	}
	got := make(map[string][]string)
	collectKeys(t, "", s["oneOf"].([]any)[0].(map[string]any), got)
	for at, fs := range sections() {
		want := fs.keys()
		slices.Sort(want)
		keys := slices.Compact(got[at]) // a mapping may stand alone or in a list
		if !slices.Equal(keys, want) {
			t.Errorf("%q has %q, want %q", at, keys, want)
		}
	}
}

// collectKeys notes the keys of each mapping that a schema describes, under the path that the
// reference gives it.
func collectKeys(t *testing.T, at string, schema map[string]any, found map[string][]string) {
	if of, ok := schema["anyOf"].([]any); ok {
		for _, s := range of {
			collectKeys(t, at, s.(map[string]any), found)
		}
	}
	if items, ok := schema["items"].(map[string]any); ok {
		collectKeys(t, at, items, found)
	}
	if named, ok := schema["additionalProperties"].(map[string]any); ok {
		collectKeys(t, at+".NAME", named, found)
	}
	properties, _ := schema["properties"].(map[string]any)
	for key, property := range properties {
		property := property.(map[string]any)
		if doc, _ := property["description"].(string); doc == "" || strings.Contains(doc, "see ") || strings.Contains(doc, "](") {
			t.Errorf("%s.%s has the description %q", at, key, doc)
		}
		found[at] = append(found[at], key)
		collectKeys(t, strings.TrimPrefix(at+"."+key, "."), property, found)
	}
	slices.Sort(found[at])
}

// What Load accepts is valid under the schema, and it refuses the mistakes that a schema can
// detect.
func TestSchemaValidates(t *testing.T) {
	v := validator{root: loadSchema(t)}
	examples, err := filepath.Glob("../examples/*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(inputs(t, "good"), examples...) {
		if filepath.Ext(name) == ".txt" {
			continue
		}
		if err := v.check(v.root, plain(t, name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{
		"unknown-key.yaml", "types.yaml", "types.json", "workers-zero.yaml", "policy-unknown.yaml", "acl-both.yaml",
		"acl-with-on-allow.yaml", "backends-empty.yaml", "mixed-forms.json", "missing-both.json", "simple-missing.json",
		"duration-number.yaml", "duration-days.yaml", "name-space.yaml", "log-level.yaml", "backend-weight-big.yaml",
		"percent-number.yaml", "percent-fraction.yaml", "rate-number.yaml", "rate-unit-long.yaml", "rate-zero.yaml",
		"health-string.yaml", "health-type-unknown.yaml", "health-rise-zero.yaml", "health-status-empty.yaml",
		"health-status-class.yaml", "health-status-high.yaml", "health-script-empty.yaml", "health-script-both.yaml",
		"health-script-neither.yaml", "health-script-unknown.yaml", "queue-number.yaml", "on-down-unknown.yaml",
		"when-unknown.yaml", "queue-listener.yaml", "backend-priority-big.yaml", "acl-nothing.yaml",
	} {
		name = filepath.Join("testdata", "bad", name)
		if v.check(v.root, plain(t, name)) == nil {
			t.Errorf("%s is valid under the schema", name)
		}
	}
}

// plain reads a configuration file as the values that encoding/json would give.
func plain(t *testing.T, name string) any {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data = []byte(strings.TrimPrefix(string(data), string(utf8BOM)))
	read := readYAML
	if isJSON(name, data) {
		read = readJSON
	}
	root, p := read(name, data)
	if p != nil {
		t.Fatal(p)
	}
	return root.plain()
}

func (n *node) plain() any {
	switch n.kind {
	case kindNull:
		return nil
	case kindBool:
		return n.text == "true"
	case kindNumber:
		return json.Number(n.text)
	case kindString:
		return n.text
	case kindList:
		list := make([]any, 0, len(n.items))
		for _, item := range n.items {
			list = append(list, item.plain())
		}
		return list
	}
	m := make(map[string]any, len(n.members))
	for _, member := range n.members {
		m[member.key] = member.value.plain()
	}
	return m
}

// validator knows the part of JSON Schema that Schema uses, and fails on a keyword that it does not
// know.
type validator struct {
	root map[string]any
}

func (v validator) check(schema any, value any) error {
	if allowed, ok := schema.(bool); ok {
		if !allowed {
			return errors.New("not allowed")
		}
		return nil
	}
	for keyword, arg := range schema.(map[string]any) {
		if err := v.keyword(keyword, arg, schema.(map[string]any), value); err != nil {
			return err
		}
	}
	return nil
}

func (v validator) keyword(keyword string, arg any, schema map[string]any, value any) error {
	text, isString := value.(string)
	number, isNumber := value.(json.Number)
	list, isList := value.([]any)
	object, isObject := value.(map[string]any)
	size := map[string]int{"minItems": len(list), "minProperties": len(object), "maxLength": len(text)}[keyword]
	fail := func() error { return fmt.Errorf("%v: not %s %v", value, keyword, arg) }
	matches := func(of any) (n int) {
		for _, s := range of.([]any) {
			if v.check(s, value) == nil {
				n++
			}
		}
		return n
	}
	ok := true
	switch keyword {
	case "$schema", "title", "description", "default", "$defs", "properties":
	case "$ref":
		return v.check(v.root["$defs"].(map[string]any)[strings.TrimPrefix(arg.(string), "#/$defs/")], value)
	case "type":
		_, isBool := value.(bool)
		_, notInteger := number.Int64()
		ok = map[string]bool{"string": isString, "array": isList, "object": isObject, "boolean": isBool,
			"integer": isNumber && notInteger == nil}[arg.(string)]
	case "const":
		ok = fmt.Sprint(arg) == fmt.Sprint(value)
	case "enum":
		ok = slices.Contains(arg.([]any), value)
	case "anyOf":
		ok = matches(arg) > 0
	case "oneOf":
		ok = matches(arg) == 1
	case "not":
		ok = v.check(arg, value) != nil
	case "minimum", "maximum":
		n, _ := number.Float64()
		ok = !isNumber || keyword == "minimum" && n >= arg.(float64) || keyword == "maximum" && n <= arg.(float64)
	case "minItems":
		ok = !isList || float64(size) >= arg.(float64)
	case "minProperties":
		ok = !isObject || float64(size) >= arg.(float64)
	case "maxLength":
		ok = !isString || float64(size) <= arg.(float64)
	case "pattern":
		ok = !isString || regexp.MustCompile(arg.(string)).MatchString(text)
	case "required":
		for _, key := range arg.([]any) {
			if _, has := object[key.(string)]; isObject && !has {
				return fail()
			}
		}
	case "items":
		for _, item := range list {
			if err := v.check(arg, item); err != nil {
				return err
			}
		}
	case "propertyNames":
		for key := range object {
			if err := v.check(arg, key); err != nil {
				return err
			}
		}
	case "additionalProperties":
		properties, _ := schema["properties"].(map[string]any)
		for key, member := range object {
			property, known := properties[key]
			if !known {
				property = arg
			}
			if err := v.check(property, member); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
	default:
		return fmt.Errorf("the schema uses %s, which this test does not know", keyword)
	}
	if !ok {
		return fail()
	}
	return nil
}
