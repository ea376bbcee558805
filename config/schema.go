package config

import (
	"encoding/json"
	"strconv"

	"github.com/invopop/jsonschema"
)

// Schema returns the JSON Schema (draft 2020-12) of a configuration file, in
// the full and in the simple form. Keys that are not supported yet are not in
// it.
func Schema() ([]byte, error) {
	full, simple := fullSection.schema(), simpleSection.schema()
	full.Description = "The full form."
	simple.Description = "The simple form: one listener, one pool, one list of allowed clients."
	// A key may come from the environment instead, but a file that is read
	// alone has all three.
	simple.Required = simpleSection.names()
	root := &jsonschema.Schema{
		Version:     jsonschema.Version,
		Title:       "l4proxy configuration",
		Description: "Any string may hold ${NAME} or ${NAME:-default} from the environment.",
		OneOf:       []*jsonschema.Schema{ref("full"), ref("simple")},
		Definitions: jsonschema.Definitions{
			"full": full, "simple": simple,
			"variable": {
				Type: "string", Pattern: `\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}`,
				Description: "A value from the environment.",
			},
			"duration": {
				Type: "string", Pattern: `^(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+$|^0$`,
				Description: "A number with ms, s, m or h, such as 30s or 1h30m.",
			},
			"percent": {Type: "string", Pattern: `^[0-9]+%$`, Description: "A whole number with %, such as 50%."},
			"rate":    {Type: "string", Pattern: `^[1-9][0-9]*/[smh]$`, Description: "A whole number a second, minute or hour, such as 10/s."},
			"name": {
				Type: "string", Pattern: `^\S+$`, MaxLength: ptr(maxNameLen),
				Description: "A name: printable, without spaces.",
			},
		},
	}
	for name, s := range innerSections {
		root.Definitions[name] = s.schema()
	}
	onlyAllowOrDeny(root.Definitions["rule"])
	root.Definitions["step"].OneOf = []*jsonschema.Schema{{Required: []string{"send"}}, {Required: []string{"receive"}}}
	return json.MarshalIndent(root, "", "  ")
}

// schema describes the section's supported keys.
func (s *section) schema() *jsonschema.Schema {
	out := &jsonschema.Schema{
		Type:                 "object",
		Properties:           jsonschema.NewProperties(),
		AdditionalProperties: jsonschema.FalseSchema,
	}
	for _, k := range s.keys {
		if k.unsupported {
			continue
		}
		// Under draft 2020-12 a $ref may have siblings, so each key keeps a
		// description of its own.
		described := *k.schema
		described.Description = k.doc
		out.Properties.Set(k.name, &described)
		if k.required {
			out.Required = append(out.Required, k.name)
		}
	}
	return out
}

// onlyAllowOrDeny adds to the keys of a rule that it has one of the two.
func onlyAllowOrDeny(rule *jsonschema.Schema) {
	rule.OneOf = []*jsonschema.Schema{
		{Required: []string{"allow"}, Not: &jsonschema.Schema{Required: []string{"with"}}},
		{Required: []string{"deny"}},
	}
}

func ref(name string) *jsonschema.Schema {
	return &jsonschema.Schema{Ref: "#/$defs/" + name}
}

func anyOf(of ...*jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: of}
}

func stringSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string"}
}

func boolSchema() *jsonschema.Schema {
	return anyOf(&jsonschema.Schema{Type: "boolean"}, ref("variable"))
}

func enumSchema(c *choice) *jsonschema.Schema {
	values := make([]any, len(c.values))
	for i, v := range c.values {
		values[i] = v
	}
	return anyOf(&jsonschema.Schema{Enum: values}, ref("variable"))
}

func integerSchema(low, high int) *jsonschema.Schema {
	number := &jsonschema.Schema{
		Type:    "integer",
		Minimum: json.Number(strconv.Itoa(low)),
		Maximum: json.Number(strconv.Itoa(high)),
	}
	return anyOf(number, ref("variable"))
}

func autoOr(low, high int) *jsonschema.Schema {
	s := integerSchema(low, high)
	s.AnyOf = append(s.AnyOf, &jsonschema.Schema{Const: "auto"})
	return s
}

func durationSchema() *jsonschema.Schema {
	return anyOf(ref("duration"), &jsonschema.Schema{Const: 0}, ref("variable"))
}

func durationOrOff() *jsonschema.Schema {
	s := durationSchema()
	s.AnyOf = append(s.AnyOf, &jsonschema.Schema{Const: "off"})
	return s
}

func percentSchema() *jsonschema.Schema {
	return anyOf(ref("percent"), ref("variable"))
}

func rateSchema() *jsonschema.Schema {
	return anyOf(ref("rate"), ref("variable"))
}

func statusSchema() *jsonschema.Schema {
	s := integerSchema(minStatus, maxStatus)
	s.AnyOf = append(s.AnyOf, &jsonschema.Schema{Type: "string", Pattern: `^[1-5][0-9]{2}(-[1-5][0-9]{2})?$`})
	return s
}

func modeSchema() *jsonschema.Schema {
	return anyOf(&jsonschema.Schema{Type: "string", Pattern: `^(0o)?0*[0-7]{1,3}$`}, &jsonschema.Schema{Type: "integer", Minimum: "0"}, ref("variable"))
}

func ownerSchema() *jsonschema.Schema {
	return anyOf(stringSchema(), &jsonschema.Schema{Type: "integer", Minimum: "0"})
}

func listOf(item *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "array", Items: item}
}

func nonEmpty(list *jsonschema.Schema) *jsonschema.Schema {
	list.MinItems = ptr(1)
	return list
}

func oneOrMore(item *jsonschema.Schema) *jsonschema.Schema {
	return anyOf(item, nonEmpty(listOf(item)))
}

// named is a mapping from names that the user chooses.
func named(def string) *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "object", PropertyNames: ref("name"), AdditionalProperties: ref(def), MinProperties: ptr(1),
	}
}

func withDefault(s *jsonschema.Schema, value any) *jsonschema.Schema {
	s.Default = value
	return s
}

func ptr(n uint64) *uint64 { return &n }
