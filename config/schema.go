package config

import (
	"encoding/json"
	"maps"
	"regexp"
)

// schema is a JSON Schema, or a part of one.
type schema map[string]any

// Schema returns the JSON Schema (draft 2020-12) of a configuration file, in the full and in the
// simple form. Keys that are not supported yet are not in it.
func Schema() ([]byte, error) {
	full, simple := new(Config).fields().schema(), newSimple(new(Config)).fields().schema()
	full["description"] = "The full form."
	simple["description"] = "The simple form: one listener, one pool, one list of allowed clients."
	return json.MarshalIndent(schema{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       "l4proxy configuration",
		"description": "Any string may hold ${NAME} or ${NAME:-default} from the environment, and ${file:PATH} from a file.",
		"oneOf":       []schema{full, simple},
	}, "", "  ")
}

// schema describes the supported keys.
func (fs fields) schema() schema {
	properties := schema{}
	required := []string{}
	for _, f := range fs {
		s := f.value.schema()
		if s == nil {
			continue
		}
		properties[f.key] = s.with("description", plainDoc(f.doc))
		if _, ok := f.value.(requiredValue); ok {
			required = append(required, f.key)
		}
	}
	return schema{"type": "object", "properties": properties, "required": required, "additionalProperties": false}
}

var (
	references = regexp.MustCompile(`; see (below|\[[^]]*\]\([^)]*\))`)
	links      = regexp.MustCompile(`\[([^]]*)\]\([^)]*\)`)
)

// plainDoc is the documentation of a key without what only the reference page has.
func plainDoc(doc string) string {
	return links.ReplaceAllString(references.ReplaceAllString(doc, ""), "$1")
}

const variablePattern = `\$\{([A-Za-z_][A-Za-z0-9_]*|file:[^}]+)(:-[^}]*)?\}`

func anyText() schema { return schema{"type": "string"} }

// textLike is a text that matches a pattern, or holds a variable.
func textLike(pattern string) func() schema {
	return func() schema { return schema{"type": "string", "pattern": pattern + "|" + variablePattern} }
}

// ofVariable is a value from the environment.
var ofVariable = schema{"type": "string", "pattern": variablePattern}

// with returns s with one more keyword; a nil value adds none.
func (s schema) with(keyword string, value any) schema {
	if value == nil {
		return s
	}
	s = maps.Clone(s)
	s[keyword] = value
	return s
}

func anyOf(of ...schema) schema { return schema{"anyOf": of} }

func oneOrMore(item schema) schema {
	return anyOf(item, schema{"type": "array", "items": item, "minItems": 1})
}

// schema allows the words, and a variable.
func (w *words[T]) schema() schema { return anyOf(schema{"enum": w.texts()}, ofVariable) }
