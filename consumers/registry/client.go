package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"golang.org/x/sync/singleflight"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/codec"
	"github.com/millrace/millrace/schemas/link"
)

// Config says where the registry is and how patient the client is with it.
type Config struct {
	URL          string // http or https; several, of one registry, with commas between
	Username     string // basic authentication; "" for none
	Password     link.Secret
	PasswordFile string     // has the password
	OAuth        link.OAuth // a bearer token instead
	TLS          link.TLS   // of https

	Timeout  time.Duration // of one HTTP request
	Attempts int           // of one question; then the error is the caller's
	Backoff  time.Duration // before the second attempt; it doubles, up to MaxBackoff
	// MaxBackoff bounds the pause between attempts.
	MaxBackoff time.Duration
	// UnknownFor is how long an id that the registry does not know is not asked for again.
	UnknownFor time.Duration
}

// DefaultConfig returns the defaults; the URL has none.
func DefaultConfig() Config {
	return Config{
		Timeout: 5 * time.Second, Attempts: 4, Backoff: 100 * time.Millisecond, MaxBackoff: 2 * time.Second,
		UnknownFor: 10 * time.Second,
	}
}

// Validate reports everything that makes no sense, one error each, joined.
func (c Config) Validate() error {
	var errs []error
	for text := range strings.SplitSeq(c.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		switch {
		case err != nil: // the error would repeat what may be a password
			errs = append(errs, errors.New("registry.url: not a URL"))
		case u.User != nil:
			errs = append(errs, errors.New("registry.url: it holds a user; set registry.username and registry.password"))
		case (u.Scheme != "http" && u.Scheme != "https") || u.Host == "":
			errs = append(errs, fmt.Errorf("registry.url: %q does not begin with http:// or https:// and a host", schemas.PublicAddress(strings.TrimSpace(text))))
		case u.Scheme == "http" && c.TLS.On():
			errs = append(errs, fmt.Errorf("registry.url: %q begins with http://, but registry.tls is set: write https://", schemas.PublicAddress(strings.TrimSpace(text))))
		}
	}
	errs = append(errs, c.validateAccess())
	if c.Attempts < 1 {
		errs = append(errs, fmt.Errorf("registry: attempts must be at least 1, got %d", c.Attempts))
	}
	return errors.Join(errs...)
}

// maxUnknown bounds how many unknown ids are remembered.
const maxUnknown = 10_000

// maxReferences bounds how many schemas one schema may refer to, directly and indirectly.
const maxReferences = 1000

// room is what a schema and all that it refers to may still have.
type room struct{ references, bytes int }

var errSchemaTooLarge = fmt.Errorf("%w: it has more than %d MiB, with what it refers to", codec.ErrUnknownSchema, codec.MaxSchemaBytes>>20)

// Client implements codec.Registry. It keeps every schema that it fetched: they never
// change. Those who ask the same at the same time wait for one answer. It is safe for
// concurrent use; one serves all lanes.
type Client struct {
	cfg       Config
	access    *access
	transport *http.Transport
	sr        *sr.Client
	flight    singleflight.Group

	mu         sync.RWMutex
	schemas    map[int]codec.Schema
	versions   map[version]codec.Schema // what schemas refer to
	unknown    map[int]time.Time        // until when
	registered map[registration]int
	kept       int // bytes of schemas and versions
}

type version struct {
	subject string
	version int
}

type registration struct {
	subject string
	kind    codec.Codec
	text    string
}

var _ codec.Registry = (*Client)(nil)

// New makes a client. It does not connect yet. Close it when done.
func New(cfg Config) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	transport := cfg.TLS.Transport("registry.tls")
	c := &Client{
		cfg: cfg, transport: transport, access: newAccess(cfg),
		schemas: map[int]codec.Schema{}, versions: map[version]codec.Schema{},
		unknown: map[int]time.Time{}, registered: map[registration]int{},
	}
	var urls []string
	for u := range strings.SplitSeq(cfg.URL, ",") {
		urls = append(urls, strings.TrimSpace(u))
	}
	opts := []sr.ClientOpt{sr.URLs(urls...), sr.HTTPClient(&http.Client{Timeout: cfg.Timeout, Transport: bounded{transport}, CheckRedirect: sameOrigin}), sr.UserAgent("millrace"), sr.PreReq(c.access.authorize)}
	var err error
	if c.sr, err = sr.NewClient(opts...); err != nil {
		return nil, fmt.Errorf("registry.url: %w", c.public(err))
	}
	return c, nil
}

// Close ends idle connections. Questions that are open go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Schema implements codec.Registry.
func (c *Client) Schema(ctx context.Context, id int) (codec.Schema, error) {
	c.mu.RLock()
	s, known := c.schemas[id]
	until := c.unknown[id]
	c.mu.RUnlock()
	switch {
	case known:
		return s, nil
	case time.Now().Before(until):
		return codec.Schema{}, codec.ErrUnknownSchema
	}
	return share(ctx, c, fmt.Sprint("schema ", id), func(ctx context.Context) (codec.Schema, error) {
		s, err := c.fetch(ctx, id)
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case err == nil:
			c.keep(s)
			c.schemas[id] = s
		case errors.Is(err, codec.ErrUnknownSchema):
			if len(c.unknown) >= maxUnknown {
				clear(c.unknown)
			}
			c.unknown[id] = time.Now().Add(c.cfg.UnknownFor)
		}
		return s, err
	})
}

func (c *Client) fetch(ctx context.Context, id int) (codec.Schema, error) {
	var got sr.Schema
	err := c.try(ctx, func() (err error) {
		got, err = c.sr.SchemaByID(ctx, id)
		return err
	})
	if absent(err) {
		return codec.Schema{}, fmt.Errorf("%w %d", codec.ErrUnknownSchema, id)
	}
	if err != nil {
		return codec.Schema{}, fmt.Errorf("ask the Schema Registry for schema %d: %w", id, err)
	}
	return c.resolve(ctx, got, nil, &room{references: maxReferences, bytes: codec.MaxSchemaBytes})
}

// resolve fetches what a schema refers to. open are the references that led to it.
func (c *Client) resolve(ctx context.Context, got sr.Schema, open []version, left *room) (codec.Schema, error) {
	s := codec.Schema{Type: codecOf(got.Type), Text: got.Schema}
	if left.bytes -= len(s.Text); left.bytes < 0 {
		return s, errSchemaTooLarge
	}
	for _, ref := range got.References {
		v := version{ref.Subject, ref.Version}
		if left.references--; left.references < 0 {
			return s, fmt.Errorf("%w: it refers to more than %d schemas", codec.ErrUnknownSchema, maxReferences)
		}
		if slices.Contains(open, v) {
			return s, fmt.Errorf("%w: subject %s version %d refers to itself", codec.ErrUnknownSchema, v.subject, v.version)
		}
		inner, err := c.reference(ctx, v, append(open, v), left)
		if err != nil {
			return s, err
		}
		s.References = append(s.References, codec.Reference{Name: ref.Name, Schema: inner})
	}
	return s, nil
}

func (c *Client) reference(ctx context.Context, v version, open []version, left *room) (codec.Schema, error) {
	c.mu.RLock()
	s, known := c.versions[v]
	c.mu.RUnlock()
	if known {
		if left.bytes -= len(s.Text); left.bytes < 0 {
			return s, errSchemaTooLarge
		}
		return s, nil
	}
	var got sr.SubjectSchema
	err := c.try(ctx, func() (err error) { // a deleted version is still what it was referred to for
		got, err = c.sr.SchemaByVersion(sr.WithParams(ctx, sr.ShowDeleted), v.subject, v.version)
		return err
	})
	if absent(err) {
		return s, fmt.Errorf("%w: it refers to subject %s version %d, which is not there", codec.ErrUnknownSchema, v.subject, v.version)
	}
	if err != nil {
		return s, fmt.Errorf("ask the Schema Registry for subject %s version %d: %w", v.subject, v.version, err)
	}
	if s, err = c.resolve(ctx, got.Schema, open, left); err != nil {
		return s, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(s)
	c.versions[v] = s
	return s, nil
}

// Register implements codec.Registry. What a schema refers to must be registered already;
// the schemas of results refer to nothing.
func (c *Client) Register(ctx context.Context, subject string, s codec.Schema) (int, error) {
	r := registration{subject, s.Type, s.Text}
	c.mu.RLock()
	id, known := c.registered[r]
	c.mu.RUnlock()
	if known {
		return id, nil
	}
	if len(s.References) > 0 {
		return 0, fmt.Errorf("register a schema under subject %s: it refers to %d others", subject, len(s.References))
	}
	kind := sr.TypeAvro
	if s.Type == codec.Protobuf {
		kind = sr.TypeProtobuf
	}
	return share(ctx, c, fmt.Sprintf("register %s %s %s", subject, s.Type, s.Text), func(ctx context.Context) (int, error) {
		var id int
		err := c.try(ctx, func() (err error) {
			id, err = c.sr.RegisterSchema(ctx, subject, sr.Schema{Schema: s.Text, Type: kind}, -1, -1)
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("register a schema under subject %s: %w", subject, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.registered[r] = id
		return id, nil
	})
}

// share asks once for all who want to know the same at the same time. Who asked first may
// go away without taking the answer from the others; attempts and timeouts bound the question.
func share[T any](ctx context.Context, c *Client, key string, ask func(context.Context) (T, error)) (T, error) {
	answers := c.flight.DoChan(key, func() (any, error) { return ask(context.WithoutCancel(ctx)) })
	select {
	case a := <-answers:
		return a.Val.(T), a.Err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// public returns err without the secrets that an address can hold, and without those that were sent.
func (c *Client) public(err error) error {
	return schemas.WithoutSecrets(c.access.explain(err), strings.Split(c.cfg.URL, ","), c.access.used())
}

// try asks again, with growing pauses, while the registry is away or busy.
func (c *Client) try(ctx context.Context, ask func() error) error {
	pause := c.cfg.Backoff
	for attempt := 1; ; attempt++ {
		err := ask()
		if err == nil || attempt >= c.cfg.Attempts || !temporary(err) {
			return c.public(err)
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2+1)) //nolint:gosec // spreads the attempts, no secret
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return c.public(err)
		}
		pause = min(2*pause, c.cfg.MaxBackoff)
	}
}

// temporary tells whether the same question may be answered later.
func temporary(err error) bool {
	var answer *sr.ResponseError
	if !errors.As(err, &answer) {
		return !errors.Is(err, codec.ErrUnknownSchema) // no answer at all, or one that is too large
	}
	return answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusRequestTimeout
}

// absent tells whether the registry itself has answered that there is no such thing. It may
// have a code for what is missing, or 404 where it cannot even read the question: either way
// it will not answer otherwise. A 404 of something on the way has no code. (A wrong path of
// registry.url would look the same, but then Register fails, and that comes first.)
func absent(err error) bool {
	var answer *sr.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound && answer.ErrorCode != 0
}

func codecOf(t sr.SchemaType) codec.Codec {
	switch t {
	case sr.TypeAvro:
		return codec.Avro
	case sr.TypeProtobuf:
		return codec.Protobuf
	default: // JSON Schema
		return codec.JSON
	}
}
