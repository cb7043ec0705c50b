package example;

import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.HttpSession;
import java.time.Duration;
import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.http.HttpEntity;
import org.springframework.http.HttpHeaders;
import org.springframework.http.HttpMethod;
import org.springframework.http.MediaType;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.Authentication;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClientManager;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClientProviderBuilder;
import org.springframework.security.oauth2.client.annotation.RegisteredOAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.oidc.web.logout.OidcClientInitiatedLogoutSuccessHandler;
import org.springframework.security.oauth2.client.registration.ClientRegistrationRepository;
import org.springframework.security.oauth2.client.web.DefaultOAuth2AuthorizedClientManager;
import org.springframework.security.oauth2.client.web.OAuth2AuthorizedClientRepository;
import org.springframework.security.oauth2.core.oidc.user.OidcUser;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.client.RestTemplate;

/** Spring Security's OAuth 2.0 login with what Spring Boot sets up from `application.properties`. */
@SpringBootApplication
@RestController
public class App {
  public static void main(String[] arguments) {
    SpringApplication.run(App.class, arguments);
  }

  @Bean
  static SecurityFilterChain security(HttpSecurity http, ClientRegistrationRepository registrations) throws Exception {
    var logout = new OidcClientInitiatedLogoutSuccessHandler(registrations);
    logout.setPostLogoutRedirectUri("{baseUrl}/");
    logout.setDefaultTargetUrl("/");
    return http
        .authorizeHttpRequests(requests -> requests.requestMatchers("/", "/error").permitAll().anyRequest().authenticated())
        .oauth2Login(login -> login.defaultSuccessUrl("/"))
        .logout(settings -> settings.logoutSuccessHandler(logout))
        // The test's person runs no script that could read the token out of a page.
        .csrf(csrf -> csrf.disable())
        .build();
  }

  @GetMapping(value = "/", produces = MediaType.TEXT_HTML_VALUE)
  String home(@AuthenticationPrincipal OidcUser user, HttpSession session) {
    if (user == null) {
      return "<a href=\"/login\">Sign in</a>";
    }
    return "<b id=\"username\">%s</b> <i id=\"email\">%s</i> <i id=\"refreshes\">%s</i>"
        .formatted(user.getPreferredUsername(), user.getEmail(), session.getAttribute("refreshes"));
  }

  /**
   * Spring refreshes when the access token is about to run out. Here every token counts as such, so that nobody waits a
   * quarter of an hour; an app needs no clock skew, and no manager of its own.
   */
  @Bean
  static OAuth2AuthorizedClientManager manager(ClientRegistrationRepository registrations,
      OAuth2AuthorizedClientRepository clients) {
    var manager = new DefaultOAuth2AuthorizedClientManager(registrations, clients);
    manager.setAuthorizedClientProvider(OAuth2AuthorizedClientProviderBuilder.builder()
        .authorizationCode()
        .refreshToken(refresh -> refresh.clockSkew(Duration.ofDays(1)))
        .build());
    return manager;
  }

  /** Counts the access tokens that it was given: one that came before does not count again. */
  @PostMapping("/refresh")
  void refresh(@RegisteredOAuth2AuthorizedClient("provider") OAuth2AuthorizedClient client, Authentication person,
      HttpSession session, HttpServletResponse response) throws Exception {
    var token = client.getAccessToken().getTokenValue();
    var headers = new HttpHeaders();
    headers.setBearerAuth(token);
    var userInfo = new RestTemplate().exchange(
        client.getClientRegistration().getProviderDetails().getUserInfoEndpoint().getUri(), HttpMethod.GET,
        new HttpEntity<>(headers), Map.class);
    if (!person.getName().equals(userInfo.getBody().get("sub"))) {
      throw new IllegalStateException("UserInfo is about somebody else");
    }
    var before = (Integer) session.getAttribute("refreshes");
    var refreshes = before == null ? 0 : before;
    session.setAttribute("refreshes", token.equals(session.getAttribute("token")) ? refreshes : refreshes + 1);
    session.setAttribute("token", token);
    response.sendRedirect("/");
  }
}
