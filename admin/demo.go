package admin

// DemoBackend is a built-in backend of the demo: GET /api/v1/demo lists them, and POST
// /api/v1/demo/{backend} changes one. Both paths exist in a demo only.
type DemoBackend struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	// Fault is "none", "stop" (it refuses connections), "hang" (it accepts them and never answers)
	// or "slow" (it answers late).
	Fault string `json:"fault"`
}

// FaultRequest is the body of POST /api/v1/demo/{backend}.
type FaultRequest struct {
	Fault string `json:"fault"`
}
