package main

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"l4proxy/admin"
	"l4proxy/top"
)

// answers are what commands print with --json. The scripts hold what they really print against the
// same file (the command jsonfields).
var answers = map[string][]any{
	"check":   {report{}},
	"doctor":  {diagnosis{}},
	"status":  {admin.Status{}},
	"top":     {top.Snapshot{}},
	"conns":   {admin.ConnectionPage{}},
	"kill":    {admin.Kill{}},
	"ban":     {admin.Banned{}},
	"unban":   {admin.Unbanned{}},
	"bans":    {admin.BanPage{}, synced{}},
	"drain":   {admin.Drain{}},
	"weight":  {admin.Drain{}},
	"events":  {admin.Events{}},
	"reload":  {admin.Reload{}, plainAnswer{}},
	"upgrade": {admin.Upgrade{}},
	"explain": {admin.Explain{}},
	"debug":   {admin.Debug{}},
	"error":   {admin.Error{}}, // of all of them but check
}

const jsonFields = "testdata/json-fields.txt"

// Programs rely on the names: fields are added, never renamed and never removed.
func TestJSONFieldsAreStable(t *testing.T) {
	var fields []string
	for command, types := range answers {
		for _, v := range types {
			for path, kind := range fieldsOf(reflect.TypeOf(v)) {
				fields = append(fields, command+" "+path+" "+kind)
			}
		}
	}
	slices.Sort(fields)
	fields = slices.Compact(fields)
	if *update {
		if err := os.WriteFile(jsonFields, []byte(strings.Join(fields, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(jsonFields)
	if err != nil {
		t.Fatal(err)
	}
	known := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, line := range known {
		if !slices.Contains(fields, line) {
			t.Errorf("%s is gone: programs may rely on it", line)
		}
	}
	for _, line := range fields {
		if !slices.Contains(known, line) {
			t.Errorf("%s is new: run this test with -update", line)
		}
	}
}

// Each command with --json has a row above.
func TestJSONOfEveryCommand(t *testing.T) {
	_, commands := available()
	for _, cmd := range commands {
		if cmd.Flags().Lookup("json") != nil && answers[cmd.Name()] == nil {
			t.Errorf("%s has --json, and its answer is not in the table", cmd.Name())
		}
		if cmd.Flags().Lookup("token-file") != nil && cmd.Flags().Lookup("json") == nil {
			t.Errorf("%s talks to a running proxy and has no --json", cmd.Name())
		}
	}
}

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
)

// fieldsOf are the paths of the fields of a type in JSON, with the kind of each.
func fieldsOf(t reflect.Type) map[string]string {
	all := make(map[string]string)
	addFields(all, "", t)
	return all
}

func addFields(all map[string]string, path string, t reflect.Type) {
	switch {
	case t.Kind() == reflect.Pointer:
		addFields(all, path, t.Elem())
		return
	case t == reflect.TypeFor[time.Time]():
		all[path] = "time"
		return
	case t.Implements(jsonMarshaler), reflect.PointerTo(t).Implements(jsonMarshaler):
		all[path] = "any" // it writes itself
		return
	case t.Implements(textMarshaler), reflect.PointerTo(t).Implements(textMarshaler):
		all[path] = "string"
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case name == "-" || !f.IsExported():
			case f.Anonymous && name == "":
				addFields(all, path, f.Type)
			case name == "":
				addFields(all, path+"."+f.Name, f.Type)
			default:
				addFields(all, path+"."+name, f.Type)
			}
		}
	case reflect.Slice, reflect.Array:
		addFields(all, path+"[]", t.Elem())
	case reflect.Map:
		addFields(all, path+".*", t.Elem())
	case reflect.Interface:
		all[path] = "any"
	case reflect.String:
		all[path] = "string"
	case reflect.Bool:
		all[path] = "bool"
	default:
		all[path] = "number"
	}
}

// jsonfields is the command jsonfields NAME: all fields of the JSON on the standard output of the
// last command are known for the command NAME, and have their kinds.
func checkJSONFields(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: jsonfields COMMAND")
	}
	text, err := os.ReadFile(jsonFields)
	ts.Check(err)
	known := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); words[0] == args[0] {
			known[words[1]] = words[2]
		}
	}
	decoder := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	values := 0
	for ; ; values++ {
		var value any
		if err := decoder.Decode(&value); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			ts.Fatalf("not JSON: %v", err)
		}
		found := make(map[string]string)
		addValues(found, "", value)
		for _, path := range slices.Sorted(maps.Keys(found)) {
			if kind := known[path]; kind != found[path] && kind != "any" && (kind != "time" || found[path] != "string") {
				ts.Fatalf("%s --json has the field %s of kind %s; %s says %q", args[0], path, found[path], jsonFields, kind)
			}
		}
	}
	if values == 0 {
		ts.Fatalf("no JSON")
	}
}

func addValues(all map[string]string, path string, value any) {
	switch v := value.(type) {
	case map[string]any:
		for name, field := range v {
			addValues(all, path+"."+name, field)
		}
	case []any:
		for _, item := range v {
			addValues(all, path+"[]", item)
		}
	case nil:
	case string:
		all[path] = "string"
	case bool:
		all[path] = "bool"
	case float64:
		all[path] = "number"
	default:
		all[path] = fmt.Sprintf("%T", v)
	}
}
