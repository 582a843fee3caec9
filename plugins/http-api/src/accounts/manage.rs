//! Every account, for administrators.

use axum::{
    Json,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use ratebus_sdk::ProblemDocument;
use serde::{Deserialize, Serialize};
use tracing::field::display;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{admin, form, masked};
use crate::{
    body,
    caller::Caller,
    openapi::v1,
    paging,
    path_id::{self, IdPath},
    problem::Problem,
    state::{App, Shared, Unavailable},
    store::{Account, AccountChange, Changed, Role, StoreError, User},
};

/// Which accounts are asked for.
#[derive(Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// How many accounts.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: u32,
    /// Only those that follow this one: the `next` of the page before.
    #[param(format = "uuid", nullable = false)]
    after: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self { limit: 50, after: None }
    }
}

/// What an administrator may change of an account, either or both.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "`form::account_change` reads it")]
struct AccountPatch {
    #[schema(nullable = false)]
    role: Option<Role>,
    #[schema(nullable = false, example = false)]
    disabled: Option<bool>,
}

#[derive(Serialize, ToSchema)]
struct Accounts {
    users: Vec<Account>,
    /// The `after` of the next page; `null` on the last one.
    #[schema(required)]
    next: Option<String>,
}

/// Every account
///
/// In the order they were made. Accounts that are made while pages are read come on the last ones: none is left out or
/// there twice.
#[utoipa::path(get, path = "/v1/users", operation_id = "listUsers", tag = "accounts", security(("bearer" = [])),
    params(Page),
    responses(
        (status = 200, description = "A page of them.", body = Accounts),
        (status = 422, description = "A parameter is wrong.", body = ProblemDocument, content_type = "application/problem+json"),
        v1::Admin,
    ))]
pub(crate) async fn list(
    State(app): State<Shared>,
    caller: Caller,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    admin(&app, &caller).await?;
    let Page { limit, after } = paging::parameters(page, |page| page.limit)?;
    let after = after.map(|after| after.parse::<Uuid>()).transpose();
    let after = after.map_err(|_| Problem::invalid("after is not the `next` of a page"))?;
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let mut users = app.backend()?.store.accounts(&after, limit + 1).await.map_err(failed(&app))?;
    let next = paging::cut(&mut users, limit).map(|last| last.id.clone());
    Ok(Json(Accounts { users, next }).into_response())
}

/// An account
#[utoipa::path(get, path = "/v1/users/{id}", operation_id = "getUser", tag = "accounts", security(("bearer" = [])),
    params(("id" = String, Path, description = "Its `id`.", example = "0197a1b2-0000-7000-8000-000000000000")),
    responses(
        (status = 200, description = "The account.", body = Account),
        (status = 404, description = "There is none.", body = ProblemDocument, content_type = "application/problem+json"),
        v1::Admin,
    ))]
pub(crate) async fn one(State(app): State<Shared>, caller: Caller, id: IdPath) -> Result<Response, Problem> {
    admin(&app, &caller).await?;
    let id = path_id::parse(id).ok_or_else(unknown)?;
    let account = app.backend()?.store.account(&id).await.map_err(failed(&app))?;
    Ok(Json(account.ok_or_else(unknown)?).into_response())
}

/// Promote, demote, disable or enable an account
///
/// It takes effect with the account's next request; disabling ends its sessions for good.
#[utoipa::path(patch, path = "/v1/users/{id}", operation_id = "patchUser", tag = "accounts", security(("bearer" = [])),
    params(("id" = String, Path, description = "Its `id`.", example = "0197a1b2-0000-7000-8000-000000000000")),
    request_body = AccountPatch,
    responses(
        (status = 200, description = "The account as it is now.", body = Account),
        (status = 404, description = "There is none.", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "It is the last enabled administrator.", body = ProblemDocument,
            content_type = "application/problem+json"),
        v1::Admin,
        v1::Body,
    ))]
pub(crate) async fn patch(
    State(app): State<Shared>,
    caller: Caller,
    id: IdPath,
    request: Request,
) -> Result<Response, Problem> {
    let (actor, body) = body::read_from::<_, _, Problem, _>(|| admin(&app, &caller), request).await?;
    // What is wrong with the body is said first, whoever it is for.
    let change = form::account_change(&body)?;
    let id = path_id::parse(id).ok_or_else(unknown)?;
    Ok(Json(complete(apply(app, caller, actor, id, change)).await?).into_response())
}

async fn apply(
    app: Shared,
    caller: Caller,
    actor: User,
    id: String,
    change: AccountChange,
) -> Result<Account, Problem> {
    let changed = app.backend()?.store.change_account(&id, change).await.map_err(failed(&app))?;
    let (actor_id, actor) = (actor.id, masked(&actor.email));
    let (peer, request_id) = (caller.peer.map(display), caller.request_id);
    match changed {
        Changed::Done(account) => {
            metrics::counter!("ratebus_account_changes_total").increment(1);
            let (event, account_id, email) = ("account_changed", &account.id, masked(&account.email));
            let (role, disabled) = (account.role.as_str(), account.disabled);
            tracing::info!(
                event,
                actor,
                actor_id,
                account = email,
                account_id,
                role,
                disabled,
                peer,
                request_id,
                "account changed"
            );
            Ok(account)
        }
        Changed::Missing => Err(unknown()),
        Changed::LastAdmin => {
            let event = "last_admin_kept";
            tracing::warn!(
                event,
                actor,
                actor_id,
                peer,
                request_id,
                "the last administrator was to be demoted or disabled: refused"
            );
            let detail = "the last enabled administrator can be neither demoted nor disabled";
            Err(Problem::new(StatusCode::CONFLICT, detail))
        }
    }
}

/// Runs a change to its end even if whoever asked for it goes away: what was committed is in the log.
pub(crate) async fn complete<T: Send + 'static>(
    change: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    tokio::spawn(change).await.unwrap_or_else(|_| Err(Unavailable.into()))
}

pub(super) fn failed(app: &App) -> impl Fn(StoreError) -> Problem {
    |error| app.refuse(&error).into()
}

fn unknown() -> Problem {
    Problem::not_found("there is no such account")
}
