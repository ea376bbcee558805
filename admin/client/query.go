package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
)

// encode writes the fields of a request without a body as a query, with its question mark; "" if
// there are none.
func encode(request any) (string, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return "", err
	}
	fields := make(map[string]any)
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		return "", err
	}
	query := make(url.Values)
	for key, value := range fields {
		query.Set(key, fmt.Sprint(value))
	}
	if len(query) == 0 {
		return "", nil
	}
	return "?" + query.Encode(), nil
}
