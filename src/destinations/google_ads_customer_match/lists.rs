//! The user lists of an account: found by id or name, created where there is none.
//!
//! What it promises: a list of another kind is never taken; a name that is taken while a list is being
//! created is looked up once more.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::CustomerMatch;
use crate::delivery::{Request, Session};
use crate::destinations::address::below;
use crate::destinations::google_api::{answered, names};
use crate::destinations::membership::{self, List};
use crate::destinations::{Fault, Remote};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserList {
    id: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    ingested_user_list_info: Ingested,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ingested {
    upload_key_types: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Page {
    user_lists: Vec<UserList>,
    next_page_token: Option<String>,
}

impl CustomerMatch {
    pub(super) fn lists(&self, query: &[(&str, &str)]) -> Request {
        let mut url = self.lists_at(&[]);
        url.query_pairs_mut().extend_pairs(query);
        self.request(Method::GET, url)
    }

    fn lists_at(&self, more: &[&str]) -> url::Url {
        let path = ["v1", "accountTypes", "GOOGLE_ADS", "accounts", &self.customer, "userLists"];
        below(&self.access.base, &[&path, more].concat())
    }

    /// The list of that id, which the project names.
    pub(super) async fn existing(&self, session: &Session, id: &str) -> Result<Remote, Fault> {
        let request = self.request(Method::GET, self.lists_at(&[id]));
        let list: UserList = match session.send(request).await {
            Ok(response) => response.json()?,
            Err(Fault::Misconfigured { reason } | Fault::Rejected { reason }) => {
                return Err(membership::unknown(id, &reason));
            }
            Err(other) => return Err(other),
        };
        self.fitting(list).map(List::into_remote)
    }

    pub(super) async fn find(&self, session: &Session, name: &str) -> Result<Option<List>, Fault> {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        let filter = format!("display_name = \"{quoted}\"");
        let mut lists: Vec<UserList> = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut query = vec![("filter", filter.as_str()), ("pageSize", "1000")];
            query.extend(token.as_deref().map(|token| ("pageToken", token)));
            let page: Page = session.send(self.lists(&query)).await?.json()?;
            lists.extend(page.user_lists);
            let next = page.next_page_token.filter(|next| !next.is_empty());
            if next.is_none() || next == token {
                break;
            }
            token = next;
        }
        let pairs = lists.iter().map(|list| (&*list.id, &*list.display_name));
        let Some(found) = membership::named(pairs, name)? else { return Ok(None) };
        match lists.into_iter().find(|list| list.id == found.id) {
            Some(list) => self.fitting(list).map(Some),
            None => Ok(None),
        }
    }

    /// A list of this destination's kind.
    fn fitting(&self, list: UserList) -> Result<List, Fault> {
        let types = &list.ingested_user_list_info.upload_key_types;
        if types.iter().any(|word| word == self.key.upload_type()) {
            return Ok(List { id: list.id });
        }
        let fact = format!("it does not take members by `{}`", self.key.upload_type());
        Err(membership::unknown(&list.id, &fact))
    }

    pub(super) async fn create(&self, session: &Session, name: &str) -> Result<Remote, Fault> {
        let body = json!({
            "displayName": name,
            "membershipDuration": format!("{}s", self.life.as_secs()),
            "ingestedUserListInfo": self.key.list_info(self.app_id.as_deref())?,
        });
        let request = self.request(Method::POST, self.lists_at(&[]));
        // A name that is taken meanwhile is looked up once more.
        let request =
            request.repeatable(false).json_body(body.to_string().into()).reading(|response| {
                match names(response, "DISPLAY_NAME_ALREADY_USED") {
                    true => Ok(()),
                    false => answered(response),
                }
            });
        let response = session.send(request).await?;
        if !names(&response, "DISPLAY_NAME_ALREADY_USED") {
            let list: UserList = response.json()?;
            return Ok(List { id: list.id }.into_remote());
        }
        match self.find(session, name).await? {
            Some(list) => Ok(list.into_remote()),
            None => Err(Fault::Misconfigured {
                reason: format!("the name `{name}` is taken by a list that cannot be seen"),
            }),
        }
    }
}

/// Ids of lists are numbers, which no name of a list is by accident.
pub(super) fn is_id(text: &str) -> bool {
    text.len() >= 6 && text.bytes().all(|byte| byte.is_ascii_digit())
}
