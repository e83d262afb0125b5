package schemas_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/millrace/millrace/schemas"
)

func TestPublicAddressHoldsNoSecret(t *testing.T) {
	for in, want := range map[string]string{
		"https://hooks.example.org/services/T0/B0/canary?key=canary#canary": "https://hooks.example.org/…",
		"https://user:canary@hooks.example.org:8443":                        "https://…@hooks.example.org:8443",
		"https://canary@hooks.example.org/":                                 "https://…@hooks.example.org",
		"http://127.0.0.1:8081":                                             "http://127.0.0.1:8081",
		"http://us er:canary@host":                                          "…",
		"https:///canary":                                                   "…",
		"127.0.0.1:9092":                                                    "127.0.0.1:9092",
		"[::1]:9092":                                                        "[::1]:9092",
		"user:canary@host:9092":                                             "…@host:9092",
		"hooks.example.org/canary":                                          "…",
		"":                                                                  "",
	} {
		require.Equal(t, want, schemas.PublicAddress(in))
	}
}

func TestErrorsHoldNoSecret(t *testing.T) {
	const address = "https://canary-user:canary-password@host.example/services/canary-path?token=canary%20token"
	cause := errors.New("connection refused")
	for _, text := range []string{
		address,
		`Post "https://canary-user:***@host.example/services/canary-path?token=canary%20token": EOF`,
		"404: no such page: /services/canary-path?token=canary%20token",
		"404: no such page: canary-path",
		"bad token canary token of canary-user",
		"you sent Authorization: Bearer canary-bearer",
		"canary-bearer",
	} {
		err := schemas.WithoutSecrets(fmt.Errorf("%s: %w", text, cause), []string{address}, []string{"Bearer canary-bearer"})
		require.NotContains(t, err.Error(), "canary")
		require.ErrorIs(t, err, cause)
		require.ErrorContains(t, err, "connection refused")
	}
	require.NoError(t, schemas.WithoutSecrets(nil, []string{address}, nil))
	plain := &url.Error{Op: "Post", URL: "http://127.0.0.1:1", Err: cause}
	require.Same(t, plain, schemas.WithoutSecrets(plain, []string{"http://127.0.0.1:1"}, nil), "nothing to hide")
}

func TestExcerpts(t *testing.T) {
	secrets := []string{`Bearer can"ary-<0123>`}
	for text, want := range map[string]string{
		"":                              "",
		"all is well":                   "all is well",
		`you sent can"ary-<0123>.`:      "you sent ….",
		`you sent can\"ary-<0123>.`:     "you sent ….",
		`"can\"ary-\u003c0123\u003e"`:   `"…"`,
		"can&#34;ary-&lt;0123&gt;":      "…",
		`you sent can"ar`:               "you sent …",
		`you sent Bearer can"`:          "you sent …",
		strings.Repeat("é", 30) + "can": strings.Repeat("é", 20),
	} {
		require.Equal(t, want, schemas.Excerpt(text, 41, nil, secrets))
	}
}
