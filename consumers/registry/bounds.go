package registry

import (
	"fmt"
	"io"
	"net/http"

	"github.com/millrace/millrace/schemas/codec"
)

const (
	// maxAnswer bounds the body of an answer, once it is decompressed. A registry keeps a
	// schema in one Kafka record, of 1 MiB by default, and quotes it in JSON.
	maxAnswer = 4 << 20
	// maxErrorText bounds what is read of an answer that is an error.
	maxErrorText = 64 << 10
	// maxRedirects bounds how often one question is sent elsewhere at the same origin.
	maxRedirects = 3
	// maxKept bounds the bytes of the schemas that are remembered. They are asked for again
	// where that is not enough.
	maxKept = 64 << 20
)

// errTooLarge is a schema, since schemas are what a registry answers with: it never gets smaller.
var errTooLarge = fmt.Errorf("%w: the answer has more than %d MiB", codec.ErrUnknownSchema, maxAnswer>>20)

// sameOrigin follows a redirect at the same scheme, host and port: net/http would carry the
// password to another port of the host, and to any of its subdomains.
func sameOrigin(r *http.Request, via []*http.Request) error {
	from := via[0].URL
	if r.URL.Scheme != from.Scheme || r.URL.Host != from.Host {
		return fmt.Errorf("%s://%s redirects to %s://%s, which gets neither question nor password; set registry.url to it if it is the registry",
			from.Scheme, from.Host, r.URL.Scheme, r.URL.Host)
	}
	if len(via) > maxRedirects {
		return fmt.Errorf("%s://%s redirects more than %d times", from.Scheme, from.Host, maxRedirects)
	}
	return nil
}

// bounded bounds the bodies of answers.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	if resp.StatusCode >= 300 {
		resp.Body = cut{io.LimitReader(resp.Body, maxErrorText), resp.Body}
	} else {
		resp.Body = &capped{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, nil
}

// cut is the beginning of a body.
type cut struct {
	io.Reader
	io.Closer
}

// capped fails where a body has more than is left.
type capped struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (c *capped) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if c.left -= n; c.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// keep makes room for a schema among those that are remembered. c.mu is held.
func (c *Client) keep(s codec.Schema) {
	if c.kept += len(s.Text); c.kept > maxKept {
		clear(c.schemas)
		clear(c.versions)
		c.kept = len(s.Text)
	}
}
