//! What Marketing Cloud does only over SOAP: deleting rows of a data extension, and adding columns to
//! one.
//!
//! What it promises: the token stands in the envelope and nowhere else; results are read by the
//! number of the object that they name; a row that is not there counts as deleted.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::{BytesRef, Event};
use url::Url;

use super::super::oauth::OAuth;
use super::{Api, column_type};
use crate::delivery::{Grant, Request, Response, Session, Token, standard};
use crate::destinations::{Fault, FieldKind};

/// Objects in one request; nobody documents more.
const MOST_OBJECTS: usize = 500;
/// Characters of a text column that is added.
const LENGTH: u32 = 500;

/// Puts the token into the envelope, where SOAP wants it.
#[derive(Debug)]
pub(super) struct SoapGrant(pub Arc<OAuth>);

/// What a reply says of single objects, and as a whole.
#[derive(Debug, Default, PartialEq, Eq)]
struct Answer {
    results: Vec<Verdict>,
    overall: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    status: String,
    message: String,
    ordinal: Option<usize>,
}

impl Grant for SoapGrant {
    fn request(&self, now: SystemTime) -> Result<Request, Fault> {
        self.0.request(now)
    }

    fn token(&self, response: &Response) -> Result<Token, Fault> {
        self.0.token(response)
    }

    fn authorise(&self, mut request: Request, token: &Token) -> Result<Request, Fault> {
        let body = String::from_utf8_lossy(&request.body);
        request.body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\">\
             <s:Header><fueloauth xmlns=\"http://exacttarget.com\">{}</fueloauth></s:Header>\
             <s:Body>{body}</s:Body></s:Envelope>",
            escape(token.secret.expose())
        )
        .into();
        Ok(request)
    }

    fn is_expired(&self, response: &Response) -> bool {
        response.status == 401 || is_about_token(response)
    }
}

impl Api {
    fn soap(&self, action: &str, body: String) -> Request {
        Request::post(service(&self.soap))
            .granted(&self.soap_grant)
            .header("soapaction", action)
            .body("text/xml; charset=utf-8", body.into())
            .reading(answered)
    }

    /// Deletes the rows with these keys: `None` for each that is gone, else why it is not.
    pub(in super::super) async fn delete_rows(
        &self,
        session: &Session,
        (extension, column): (&str, &str),
        keys: &[&str],
    ) -> Result<Vec<Option<String>>, Fault> {
        let mut verdicts = Vec::with_capacity(keys.len());
        for keys in keys.chunks(MOST_OBJECTS) {
            let request = self.soap("Delete", deletion(extension, column, keys));
            let answer = Answer::read(&session.send(request).await?)?;
            verdicts.extend(answer.of_each(keys.len())?.into_iter().map(Verdict::of_deletion));
        }
        Ok(verdicts)
    }

    /// Adds columns to a data extension.
    pub(in super::super) async fn add_columns(
        &self,
        session: &Session,
        extension: &str,
        columns: &[(String, FieldKind)],
    ) -> Result<(), Fault> {
        let request = self.soap("Update", addition(extension, columns)).repeatable(false);
        let answer = Answer::read(&session.send(request).await?)?;
        match answer.of_each(1)?.pop() {
            Some(verdict) if verdict.is_ok() => Ok(()),
            other => {
                let message = other.unwrap_or_default().message;
                let reason = format!(
                    "Marketing Cloud refuses to add columns to the data extension `{extension}`: \
                     {message}"
                );
                Err(Fault::Misconfigured { reason })
            }
        }
    }
}

fn service(base: &Url) -> Url {
    super::below(base, &["Service.asmx"])
}

const NAMESPACE: &str = "http://exacttarget.com/wsdl/partnerAPI";

fn deletion(extension: &str, column: &str, keys: &[&str]) -> String {
    let (extension, column) = (escape(extension), escape(column));
    let mut body = format!("<DeleteRequest xmlns=\"{NAMESPACE}\"><Options/>");
    for key in keys {
        // Writing to a text cannot fail.
        let _ = write!(
            body,
            "<Objects xsi:type=\"DataExtensionObject\"><CustomerKey>{extension}</CustomerKey>\
             <Keys><Key><Name>{column}</Name><Value>{}</Value></Key></Keys></Objects>",
            escape(*key)
        );
    }
    body.push_str("</DeleteRequest>");
    body
}

fn addition(extension: &str, columns: &[(String, FieldKind)]) -> String {
    let fields = columns.iter().map(|(name, kind)| {
        let size = match kind {
            FieldKind::Text | FieldKind::Nested => format!("<MaxLength>{LENGTH}</MaxLength>"),
            FieldKind::Number => "<MaxLength>18</MaxLength><Scale>6</Scale>".to_owned(),
            _ => String::new(),
        };
        format!(
            "<Field><Name>{}</Name><FieldType>{}</FieldType>{size}<IsRequired>false</IsRequired>\
             <IsPrimaryKey>false</IsPrimaryKey></Field>",
            escape(name.as_str()),
            column_type(*kind)
        )
    });
    format!(
        "<UpdateRequest xmlns=\"{NAMESPACE}\"><Options/><Objects xsi:type=\"DataExtension\">\
         <CustomerKey>{}</CustomerKey><Fields>{}</Fields></Objects></UpdateRequest>",
        escape(extension),
        fields.collect::<String>()
    )
}

/// A refusal comes as a fault with status 500, as throttling does.
fn answered(response: &Response) -> Result<(), Fault> {
    if is_about_token(response) {
        return Err(Fault::Denied { reason: response.reason() });
    }
    standard(response)
}

fn is_about_token(response: &Response) -> bool {
    let told = String::from_utf8_lossy(&response.body);
    response.status >= 400 && (told.contains("Token Expired") || told.contains("Login Failed"))
}

impl Answer {
    fn read(response: &Response) -> Result<Self, Fault> {
        let unreadable = |what: &str| Fault::Protocol {
            reason: format!(
                "HTTP {} with a body that is not the XML expected: {what}",
                response.status
            ),
        };
        let text = std::str::from_utf8(&response.body).map_err(|_| unreadable("not a text"))?;
        let mut reader = Reader::from_str(text);
        let mut answer = Self::default();
        let (mut path, mut content) = (Vec::new(), String::new());
        loop {
            match reader.read_event() {
                Ok(Event::Start(start)) => {
                    path.push(name(start.local_name().as_ref()));
                    content.clear();
                    if path.last().is_some_and(|name| name == "Results") {
                        answer.results.push(Verdict::default());
                    }
                }
                Ok(Event::Text(text)) => content.push_str(&text.decode().unwrap_or_default()),
                Ok(Event::CData(text)) => content.push_str(&text.decode().unwrap_or_default()),
                Ok(Event::GeneralRef(entity)) => content.push_str(&resolved(&entity)),
                Ok(Event::End(_)) => {
                    let name = path.pop().ok_or_else(|| unreadable("an end without a start"))?;
                    answer.learn(&path, &name, content.trim());
                    content.clear();
                }
                Ok(Event::Eof) if path.is_empty() => return Ok(answer),
                Ok(Event::Eof) => return Err(unreadable("it ends too early")),
                Ok(_) => {}
                Err(error) => return Err(unreadable(&error.to_string())),
            }
        }
    }

    fn learn(&mut self, path: &[String], name: &str, content: &str) {
        if name == "OverallStatus" {
            self.overall = Some(content.to_owned());
        }
        let within = path.last().is_some_and(|parent| parent == "Results");
        let Some(verdict) = self.results.last_mut().filter(|_| within) else { return };
        match name {
            "StatusCode" => content.clone_into(&mut verdict.status),
            "StatusMessage" => content.clone_into(&mut verdict.message),
            "OrdinalID" => verdict.ordinal = content.parse().ok(),
            _ => {}
        }
    }

    /// One verdict per object, in the order of the request.
    fn of_each(self, objects: usize) -> Result<Vec<Verdict>, Fault> {
        let unreadable = |reason: String| Fault::Protocol { reason };
        if self.overall.is_none() || self.results.len() != objects {
            let reason = format!("{} results for {objects} objects", self.results.len());
            return Err(unreadable(reason));
        }
        let mut verdicts: Vec<Option<Verdict>> = (0..objects).map(|_| None).collect();
        for (position, verdict) in self.results.into_iter().enumerate() {
            match verdicts.get_mut(verdict.ordinal.unwrap_or(position)) {
                Some(slot @ None) => *slot = Some(verdict),
                _ => return Err(unreadable("two results for one object".into())),
            }
        }
        Ok(verdicts.into_iter().flatten().collect())
    }
}

impl Verdict {
    fn is_ok(&self) -> bool {
        self.status.eq_ignore_ascii_case("OK")
    }

    /// A row that is not there is deleted: the database says that it deleted none of the one expected.
    fn of_deletion(self) -> Option<String> {
        let is_gone = ["affected 0 of the expected", "not found", "does not exist"];
        let told = self.message.to_lowercase();
        if self.is_ok() || is_gone.iter().any(|words| told.contains(words)) {
            return None;
        }
        Some(if self.message.is_empty() { self.status } else { self.message })
    }
}

fn name(local: &[u8]) -> String {
    String::from_utf8_lossy(local).into_owned()
}

/// `&amp;` and the like.
fn resolved(entity: &BytesRef<'_>) -> String {
    if let Ok(Some(character)) = entity.resolve_char_ref() {
        return character.to_string();
    }
    let name = entity.decode().unwrap_or_default();
    resolve_predefined_entity(&name).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Response {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        Response { status, headers: http::HeaderMap::new(), body }
    }

    fn answer(results: &str) -> Result<Answer, Fault> {
        let body = format!(
            "<?xml version=\"1.0\"?><soap:Envelope xmlns:soap=\"x\"><soap:Body><DeleteResponse \
             xmlns=\"y\">{results}</DeleteResponse></soap:Body></soap:Envelope>"
        );
        Answer::read(&reply(200, &body))
    }

    fn verdicts(results: &str, objects: usize) -> Result<Vec<Option<String>>, Fault> {
        let verdicts = answer(results)?.of_each(objects)?;
        Ok(verdicts.into_iter().map(Verdict::of_deletion).collect())
    }

    #[test]
    fn results_are_read_by_the_number_of_their_object() {
        let results = "<Results><StatusCode>Error</StatusCode><StatusMessage>Locked &amp; busy&#33;</StatusMessage>\
            <OrdinalID>1</OrdinalID><Object><OrdinalID>9</OrdinalID></Object></Results>\
            <Results><StatusCode>OK</StatusCode><StatusMessage>Deleted</StatusMessage><OrdinalID>0</OrdinalID></Results>\
            <OverallStatus>Has Errors</OverallStatus>";
        assert_eq!(verdicts(results, 2), Ok(vec![None, Some("Locked & busy!".into())]));
        let gone = "<Results><StatusCode>Error</StatusCode><StatusMessage>Concurrency violation: the \
            DeleteCommand affected 0 of the expected 1 records.</StatusMessage></Results><OverallStatus>Error</OverallStatus>";
        assert_eq!(verdicts(gone, 1), Ok(vec![None]));
    }

    #[test]
    fn results_that_are_not_those_of_the_objects_are_not_believed() {
        let ok = "<Results><StatusCode>OK</StatusCode><OrdinalID>0</OrdinalID></Results>";
        let whole = "<OverallStatus>OK</OverallStatus>";
        for (results, objects) in [
            (ok.to_owned(), 1),
            (format!("{ok}{whole}"), 2),
            (format!("{ok}{ok}{whole}"), 2),
            (format!("{ok}{whole}</Broken>"), 1),
            (format!("{ok}{whole}<Results>"), 1),
        ] {
            let read = verdicts(&results, objects);
            assert!(matches!(read, Err(Fault::Protocol { .. })), "{results}: {read:?}");
        }
        for body in ["OK", "", "\u{0}", "<a"] {
            let read = Answer::read(&reply(200, body)).and_then(|answer| answer.of_each(1));
            assert!(matches!(read, Err(Fault::Protocol { .. })), "{body}: {read:?}");
        }
    }

    #[test]
    fn texts_are_escaped() {
        let body = deletion("a<b", "Key", &["x&y"]);
        assert!(body.contains("<CustomerKey>a&lt;b</CustomerKey>"), "{body}");
        assert!(body.contains("<Value>x&amp;y</Value>"), "{body}");
    }

    #[test]
    fn a_fault_about_the_token_is_told_apart_from_others() {
        let expired = "<s:Fault><faultstring>Token Expired</faultstring></s:Fault>";
        assert!(is_about_token(&reply(500, expired)));
        assert!(matches!(answered(&reply(500, expired)), Err(Fault::Denied { .. })));
        let busy = reply(500, "<s:Fault><faultstring>Too many requests</faultstring></s:Fault>");
        assert!(matches!(answered(&busy), Err(Fault::Ambiguous { .. })));
    }
}
