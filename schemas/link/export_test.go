package link

import "net/http"

// SetTransport has the endpoint asked by something else than the network.
func (t *Tokens) SetTransport(by http.RoundTripper) { t.client.Transport = by }
