package schemas

import "fmt"

// ErrorClass says why a record could not be used. The set is closed: it is what
// dead letters carry in their headers and what minute statistics count by.
type ErrorClass string

// The error classes. Each names who has to act: the producer of the record for the first
// block, the operator or the owner of the model for the second.
const (
	ErrorClassMalformed       ErrorClass = "malformed"         // not one flat JSON object in valid UTF-8 (or a value of the other codecs), or empty, or truncated
	ErrorClassDuplicateKey    ErrorClass = "duplicate_key"     // the same key twice in one JSON object
	ErrorClassMissingFeature  ErrorClass = "missing_feature"   // a required feature, or the event time, is absent or null
	ErrorClassWrongType       ErrorClass = "wrong_type"        // a value that its feature's type cannot hold
	ErrorClassOutOfRange      ErrorClass = "out_of_range"      // outside min and max where the manifest says reject, or beyond what the graph's type holds
	ErrorClassUnknownCategory ErrorClass = "unknown_category"  // not in categories where the manifest says reject
	ErrorClassUnknownSchema   ErrorClass = "unknown_schema"    // the Schema Registry has no schema of the record's id, or one that cannot be used for the topic's codec
	ErrorClassTooLarge        ErrorClass = "request_too_large" // the record is over the configured size, or its texts are over MaxTextBytes

	ErrorClassNoVersion         ErrorClass = "no_version"         // no version is deployed for the record's topic
	ErrorClassInferenceFailed   ErrorClass = "inference_failed"   // the runtime failed on this row
	ErrorClassInvalidPrediction ErrorClass = "invalid_prediction" // the model answered NaN or an infinity, or beyond int64
	ErrorClassResultTooLarge    ErrorClass = "result_too_large"   // the answer exceeds what the results topic takes, or its texts are over MaxTextBytes
	ErrorClassUnreadableBatch   ErrorClass = "unreadable_batch"   // a batch of Kafka records inflates beyond bounds, or is damaged
)

// ErrorClasses lists every class, in the order of the documentation.
func ErrorClasses() []ErrorClass {
	return []ErrorClass{
		ErrorClassMalformed, ErrorClassDuplicateKey, ErrorClassMissingFeature, ErrorClassWrongType,
		ErrorClassOutOfRange, ErrorClassUnknownCategory, ErrorClassUnknownSchema, ErrorClassTooLarge,
		ErrorClassNoVersion, ErrorClassInferenceFailed, ErrorClassInvalidPrediction, ErrorClassResultTooLarge,
		ErrorClassUnreadableBatch,
	}
}

// RequestError says why one record, or one row of a batch, cannot be answered. Such a
// record becomes a dead letter; it is never retried.
type RequestError struct {
	Class  ErrorClass
	Reason string // one sentence: what is wrong, with which field, and what was expected
}

// Error returns the class and the reason.
func (e *RequestError) Error() string { return string(e.Class) + ": " + e.Reason }

// Errorf builds a RequestError.
func Errorf(class ErrorClass, format string, args ...any) *RequestError {
	return &RequestError{Class: class, Reason: fmt.Sprintf(format, args...)}
}

// RowError is a RequestError of one row of a batch.
type RowError struct {
	Row int
	*RequestError
}
