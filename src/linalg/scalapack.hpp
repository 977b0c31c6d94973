#pragma once
// Declarations of the BLACS, ScaLAPACK and LAPACK routines that concord calls; the libraries ship no headers.

#include <mpi.h>

// NOLINTBEGIN(readability-identifier-naming): the names are the libraries'.
extern "C" {
int Csys2blacs_handle(MPI_Comm comm);
void Cblacs_gridmap(int* context, int* ranks, int leading, int rows, int cols);
void Cblacs_gridinfo(int context, int* rows, int* cols, int* row, int* col);
void Cblacs_gridexit(int context);

void pdgemm_(const char* ta, const char* tb, const int* m, const int* n, const int* k, const double* alpha, const double* a, const int* ia,
             const int* ja, const int* da, const double* b, const int* ib, const int* jb, const int* db, const double* beta, double* c,
             const int* ic, const int* jc, const int* dc);
void pdgeqrf_(const int* m, const int* n, double* a, const int* ia, const int* ja, const int* da, double* tau, double* work,
              const int* lwork, int* info);
void pdorgqr_(const int* m, const int* n, const int* k, double* a, const int* ia, const int* ja, const int* da, const double* tau,
              double* work, const int* lwork, int* info);
void pdgesvd_(const char* jobu, const char* jobvt, const int* m, const int* n, double* a, const int* ia, const int* ja, const int* da,
              double* s, double* u, const int* iu, const int* ju, const int* du, double* vt, const int* ivt, const int* jvt, const int* dvt,
              double* work, const int* lwork, int* info);

void dgemm_(const char* ta, const char* tb, const int* m, const int* n, const int* k, const double* alpha, const double* a, const int* lda,
            const double* b, const int* ldb, const double* beta, double* c, const int* ldc);
void dgesdd_(const char* job, const int* m, const int* n, double* a, const int* lda, double* s, double* u, const int* ldu, double* vt,
             const int* ldvt, double* work, const int* lwork, int* iwork, int* info);
void dsyevd_(const char* job, const char* uplo, const int* n, double* a, const int* lda, double* values, double* work, const int* lwork,
             int* iwork, const int* liwork, int* info);
void dgeqrf_(const int* m, const int* n, double* a, const int* lda, double* tau, double* work, const int* lwork, int* info);
void dorgqr_(const int* m, const int* n, const int* k, double* a, const int* lda, const double* tau, double* work, const int* lwork,
             int* info);
}
// NOLINTEND(readability-identifier-naming)
