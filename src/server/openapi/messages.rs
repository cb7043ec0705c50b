//! The `webhooks` of the API document (OpenAPI 3.1 §4.8.1): what receivers are sent, one entry for each type of event.

use utoipa::PartialSchema;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{Discriminator, KnownFormat, Object, OneOfBuilder, SchemaFormat, Type};
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, OpenApi as Document, Paths, Ref, RefOr, Required, ResponseBuilder, Schema,
};

use crate::events::{EVENT_TYPES, Event};

/// The union of all messages, for receivers that take any.
const ANY: &str = "Event";

/// Puts the messages into the document, each with a schema of its own.
pub(super) fn describe(document: &mut Document) {
    let mut webhooks = Paths::new();
    let mut any = OneOfBuilder::new().description(Some("What a webhook is sent: any of the messages."));
    let mut mapping = Vec::new();
    let components = document.components.get_or_insert_default();
    for (event_type, message) in EVENT_TYPES.into_iter().zip(messages()) {
        let name = schema_name(event_type);
        let reference = Ref::from_schema_name(&name);
        let operation = operation(event_type, &message, reference.clone());
        webhooks.add_path_operation(event_type, vec![HttpMethod::Post], operation);
        mapping.push((event_type, reference.ref_location.clone()));
        any = any.item(reference);
        components.schemas.insert(name, RefOr::T(message.into()));
    }
    let any = any.discriminator(Some(Discriminator::with_mapping("type", mapping)));
    components
        .schemas
        .insert(ANY.to_owned(), RefOr::T(any.build().into()));
    document.webhooks = Some(webhooks);
}

/// The messages in the order of [`EVENT_TYPES`], made of the events' own types.
fn messages() -> impl Iterator<Item = Object> {
    let RefOr::T(Schema::OneOf(events)) = Event::schema() else {
        unreachable!("an event is one of several");
    };
    events.items.into_iter().map(|event| {
        let RefOr::T(Schema::Object(mut message)) = event else {
            unreachable!("an event is an object");
        };
        let moment = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("When it happened"));
        message
            .properties
            .insert("timestamp".to_owned(), moment.build().into());
        message.required = ["type", "timestamp", "data"].map(str::to_owned).to_vec();
        message
    })
}

/// `user.role_changed` is `UserRoleChangedEvent`.
fn schema_name(event_type: &str) -> String {
    let mut name = String::new();
    for word in event_type.split(['.', '_']) {
        let (first, rest) = word.split_at(1);
        name += &first.to_ascii_uppercase();
        name += rest;
    }
    name + "Event"
}

/// The request that a receiver gets (Standard Webhooks), and what its answers mean.
fn operation(event_type: &str, message: &Object, body: Ref) -> Operation {
    let header = |name: &str, kind: Type, description: &str| {
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::True)
            .description(Some(description))
            .schema(Some(ObjectBuilder::new().schema_type(kind)))
    };
    let body = ContentBuilder::new().schema(Some(body)).build();
    let answer = |description: &str| ResponseBuilder::new().description(description);
    OperationBuilder::new()
        .operation_id(Some(format!("receive_{}", event_type.replace('.', "_"))))
        .tag("events")
        .summary(message.description.clone())
        .parameter(header(
            "webhook-id",
            Type::String,
            "The event's id, the same at each repetition",
        ))
        .parameter(header(
            "webhook-timestamp",
            Type::Integer,
            "When this attempt was made, in seconds since the epoch",
        ))
        .parameter(header(
            "webhook-signature",
            Type::String,
            "`v1,` and the base64 of HMAC-SHA-256 over id, timestamp and body, joined by dots; several are separated by spaces",
        ))
        .request_body(Some(
            RequestBodyBuilder::new()
                .required(Some(Required::True))
                .content("application/json", body)
                .build(),
        ))
        .response("2XX", answer("Taken"))
        .response("410", answer("The receiver is gone for good: this event is not sent to it again"))
        .response("default", answer("Not taken: it is tried again"))
        .build()
}
