package embedded

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
)

// ClickHouse's codes of the errors that the front itself answers with.
const (
	codeCannotReadAllData     = 33
	codeBadArguments          = 36
	codeNotImplemented        = 48
	codeSyntaxError           = 62
	codeCannotParseNumber     = 72
	codeUnknownSetting        = 115
	codeReadonly              = 164
	codeTooManyQueries        = 202
	codeResultTooLarge        = 396
	codeTooManyBytes          = 307
	codeSessionNotFound       = 372
	codeInvalidSessionTimeout = 374
	codeAccessDenied          = 497
	codeUnknownRole           = 511
	codeAuthenticationFailed  = 516
	codeUnknown               = 1002
)

// exception is an error as ClickHouse answers it: a code and a text that begins with it.
type exception struct {
	code int
	text string
}

func (e *exception) Error() string { return e.text }

// exceptionNames are what ClickHouse calls these codes. Clients look for the name at the end of the text.
var exceptionNames = map[int]string{
	codeCannotReadAllData: "CANNOT_READ_ALL_DATA", codeBadArguments: "BAD_ARGUMENTS", codeNotImplemented: "NOT_IMPLEMENTED", codeSyntaxError: "SYNTAX_ERROR",
	codeCannotParseNumber: "CANNOT_PARSE_NUMBER", codeUnknownSetting: "UNKNOWN_SETTING", codeReadonly: "READONLY", codeTooManyQueries: "TOO_MANY_SIMULTANEOUS_QUERIES",
	codeTooManyBytes: "TOO_MANY_BYTES", codeSessionNotFound: "SESSION_NOT_FOUND", codeInvalidSessionTimeout: "INVALID_SESSION_TIMEOUT",
	codeResultTooLarge: "TOO_MANY_ROWS_OR_BYTES", codeAccessDenied: "ACCESS_DENIED", codeUnknownRole: "UNKNOWN_ROLE",
	codeAuthenticationFailed: "AUTHENTICATION_FAILED", codeUnknown: "UNKNOWN_EXCEPTION",
}

func newException(code int, format string, args ...any) *exception {
	return &exception{code: code, text: fmt.Sprintf("Code: %d. DB::Exception: %s. (%s)", code, fmt.Sprintf(format, args...), exceptionNames[code])}
}

var exceptionCode = regexp.MustCompile(`Code: (\d+)\. `)

// parseException reads the code from the text of an error of the engine.
func parseException(text string) *exception {
	if m := exceptionCode.FindStringSubmatch(text); m != nil {
		if code, err := strconv.Atoi(m[1]); err == nil {
			return &exception{code: code, text: text}
		}
	}
	return newException(codeUnknown, "%s", text)
}

// status is the HTTP status that ClickHouse answers such an exception with, for the usual codes.
func (e *exception) status() int {
	switch e.code {
	case 6, 26, 27, 38, 41, 53, 117, codeBadArguments, codeCannotParseNumber, codeSyntaxError, codeCannotReadAllData:
		return http.StatusBadRequest
	case 46, 47, 50, 56, 60, 63, 73, 81, codeUnknownSetting, codeUnknownRole, codeSessionNotFound:
		return http.StatusNotFound
	case 159:
		return http.StatusRequestTimeout
	case codeAccessDenied, codeAuthenticationFailed:
		return http.StatusForbidden
	case codeTooManyBytes:
		return http.StatusRequestEntityTooLarge
	case codeNotImplemented:
		return http.StatusNotImplemented
	}
	return http.StatusInternalServerError
}

func bodyCut(err error) *exception {
	return newException(codeCannotReadAllData, "Cannot read all of the request's body, nothing was run: %s", err)
}
