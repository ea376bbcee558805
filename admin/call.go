package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// maxBody bounds the body of a request.
	maxBody = 64 << 10
	// answerTimeout is how long a client may take to read an answer.
	answerTimeout = 10 * time.Second
)

// call is one request that is being answered.
type call struct {
	w http.ResponseWriter
	r *http.Request
	// ctx is done when the command takes too long, or the server ends. It outlives the client's
	// connection: a reload does not stop halfway because its client has gone.
	ctx context.Context
	// patience is how long the client may take to read the answer.
	patience time.Duration
	// query says that the values of the body may stand in the query instead.
	query bool
	body  []byte
	code  int // of the answer; 0 is 200
	// writing, if set, is called before the answer is written.
	writing func()
}

// reply sends v as JSON.
func (c *call) reply(code int, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // a value that JSON does not have, such as NaN: a bug
		code, text = http.StatusInternalServerError, []byte(`{"error": "the answer cannot be written as JSON"}`)
	}
	text = append(text, '\n')
	header := c.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(text)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	_ = http.NewResponseController(c.w).SetWriteDeadline(time.Now().Add(c.patience))
	if c.writing != nil {
		c.writing()
	}
	c.w.WriteHeader(code)
	_, _ = c.w.Write(text) // the client has gone, or does not read
}

func (c *call) fail(e *Error) {
	if e.Status == http.StatusUnauthorized {
		c.w.Header().Set("WWW-Authenticate", `Bearer realm="l4proxy"`)
	}
	c.reply(e.Status, e)
}

// readBody reads the body, for decode.
func (c *call) readBody(most int64) *Error {
	var err error
	c.body, err = io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, most))
	switch tooLarge := new(http.MaxBytesError); {
	case errors.As(err, &tooLarge):
		return &Error{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", most), ""}
	case err != nil:
		return Invalid("cannot read the body: "+err.Error(), "")
	}
	return nil
}

// decode decodes the body, a JSON object with the keys of dst, a pointer to a struct. No body is an
// empty object. A key that dst does not have is an error. So is one that is repeated, null or an
// empty string: a script that has lost the name of a listener must not drain the whole process.
func (c *call) decode(dst any) error {
	values := make(map[string]json.RawMessage)
	var err error
	if len(bytes.TrimSpace(c.body)) > 0 {
		if values, err = object(c.body); err != nil {
			return err
		}
	}
	known := keys(dst)
	if err := c.addQuery(values, known); err != nil {
		return err
	}
	for key, value := range values {
		if _, ok := known[key]; !ok {
			return Invalid("unknown key "+strconv.Quote(shorten(key)), hintKeys(known))
		}
		if text := string(value); text == "null" || text == `""` {
			return Invalid(fmt.Sprintf("%q is %s", key, text), "write a value, or leave the key out")
		}
	}
	text, err := json.Marshal(values)
	if err == nil {
		err = json.Unmarshal(text, dst)
	}
	if err != nil {
		return Invalid(readable(err), "")
	}
	return nil
}

// addQuery adds the parameters of the query to the values of the body.
func (c *call) addQuery(values map[string]json.RawMessage, known map[string]reflect.Kind) error {
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return Invalid("the query cannot be read: "+err.Error(), "")
	}
	for key, all := range query {
		_, repeated := values[key]
		switch {
		case !c.query:
			return Invalid("this path takes no query", "send the values in the body, as JSON")
		case repeated || len(all) != 1:
			return Invalid(strconv.Quote(shorten(key))+" is repeated", "write it once")
		}
		value := all[0]
		if known[key] != reflect.String && (value == "true" || value == "false") || isNumber(known[key]) && json.Valid([]byte(value)) {
			values[key] = json.RawMessage(value)
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		values[key] = text
	}
	return nil
}

func isNumber(k reflect.Kind) bool { return k == reflect.Int || k == reflect.Uint64 }

// object splits a JSON object into its values. encoding/json would take the last of repeated keys,
// and keys in any case.
func object(text []byte) (map[string]json.RawMessage, error) {
	wrong := func(err error) error {
		return Invalid("the body is not a JSON object: "+err.Error(), `write an object such as {"dry_run": true}`)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	if start, err := decoder.Token(); err != nil {
		return nil, wrong(err)
	} else if start != json.Delim('{') {
		return nil, wrong(errors.New("it does not begin with {"))
	}
	values := make(map[string]json.RawMessage)
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, wrong(err)
		}
		key := token.(string) // the decoder accepts no other key
		if _, repeated := values[key]; repeated {
			return nil, Invalid(strconv.Quote(shorten(key))+" is repeated", "write it once")
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, wrong(err)
		}
		values[key] = value
	}
	if _, err := decoder.Token(); err != nil { // }
		return nil, wrong(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, wrong(errors.New("something follows it"))
	}
	return values, nil
}

// keys are the names in JSON of the fields of the struct that dst points to.
func keys(dst any) map[string]reflect.Kind {
	names := make(map[string]reflect.Kind)
	for _, f := range reflect.VisibleFields(reflect.TypeOf(dst).Elem()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			names[name] = f.Type.Kind()
		}
	}
	return names
}

func hintKeys(known map[string]reflect.Kind) string {
	if len(known) == 0 {
		return "send no body"
	}
	return "this path takes " + strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}

// readable is an error of encoding/json without its words about Go.
func readable(err error) string {
	var wrongType *json.UnmarshalTypeError
	if !errors.As(err, &wrongType) {
		return err.Error()
	}
	want := "a string"
	switch wrongType.Type.Kind() {
	case reflect.Bool:
		want = "true or false"
	case reflect.Int, reflect.Uint64:
		want = "a whole number"
	}
	return fmt.Sprintf("expected %s for %q, got a %s", want, wrongType.Field, wrongType.Value)
}
